#include "postgres.h"
#include "distribution/releases_int.h"
MvDistWorker mv_dist;
int mv_dist_open_breakers(char names[][NAMEDATALEN], int max) { return 0; }
PGDLLEXPORT void mv_distribution_worker_main(Datum arg);
void mv_distribution_worker_main(Datum arg) { }
