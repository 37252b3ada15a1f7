"""The reconciler: turns queued jobs into containers, their output into events. The only room with Docker."""
