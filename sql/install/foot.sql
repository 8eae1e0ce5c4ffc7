-- Nothing is callable or readable by everybody; expose_to() grants what a host needs.
revoke all on all functions in schema musicverse, musicverse_v1, musicverse_v2 from public;
revoke all on all tables in schema musicverse from public;
