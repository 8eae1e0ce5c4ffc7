#include "postgres.h"

#include "keys/bucket.h"

bool		mv_admit_when_full = true;
