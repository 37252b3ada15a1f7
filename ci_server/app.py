"""`app` for `python -m uvicorn ci_server.app:app`, by the environment's settings.

Any number of processes may serve the same database.
"""

from ci_persistence import data_paths
from ci_server.factory import create_app
from ci_server.settings import ServerSettings
from ci_server.storage import sqlite_storage

app = create_app(ServerSettings(), sqlite_storage(data_paths.resolve()))
