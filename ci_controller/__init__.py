"""The reconciler: turns queued jobs into containers and their output into events. The only room with Docker."""
