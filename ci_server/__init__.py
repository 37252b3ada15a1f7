"""The HTTP interface: routes, schemas, authentication, uploads and event streams.

Any number of replicas may run on one database: none keeps a state that another would miss, and none
talks to the container engine. Whatever a watcher sees comes from the repository.
"""
