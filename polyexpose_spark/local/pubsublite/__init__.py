"""A Pub/Sub Lite server for a laptop and for tests, over the service's own gRPC protocol, without TLS on 127.0.0.1.

What a publisher or subscriber meets is there: topics, subscriptions and reservations; publishing with deduplication;
flow control; seeking; partitions shared among the subscribers of a subscription; cursors; statistics. All is on disk.
What it is not: it keeps messages for ever (retention is stored and shown, not carried out), limits no throughput,
asks for no credentials, and exports nothing to Pub/Sub; that and what it does not know it refuses (UNIMPLEMENTED).
"""
