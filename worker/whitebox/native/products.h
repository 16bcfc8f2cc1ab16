#pragma once
#include "lanes.h"

enum { WIDE = 2 * LANE /* columns of a panel */ };

/* c (m, n) = add + alpha a (m, k) b (k, n): where each begins, and how far apart rows (m), inner
   places (k) and panels of 32 columns (p) lie. b is read in whole lanes, c and add are not. */
struct product {
  long m, n, k;
  const float *a;
  long am, ak;
  const float *b;
  long bk, bp;
  float *c;
  long cm, cp;
  const float *add;
  long addm, addp;
  float alpha;
  /* Another a and b of as many rows and columns, whose product is added before alpha. */
  const struct product *also;
};

void strip(const struct product *p, long row, long rows, long panel, const float *next);
void multiplied(const struct product *p, int threads);
