/* What is done to each row of hidden states by itself: norms, gates, rotations. */
#include "lanes.h"

#define PRAGMA(text) _Pragma(#text)
#define EACH_ROW(rows, width)                                                                    \
  PRAGMA(omp parallel for schedule(static) num_threads(threads) if ((rows) * (width) >= CROWD)) \
  for (long row = 0; row < (rows); row++)

INLINE void scaled(long d, const float *x, const float *w, float by, float *y) {
  for (long i = 0; i < d; i += LANE) store(y + i, load(x + i) * splat(by) * load(w + i));
}

/* y = w x / rms(x); keeps 1 / rms(x) where that is wanted. */
void norm(long rows, long d, const float *x, const float *w, float epsilon, float *y,
          float *inverse, int threads) {
  EACH_ROW(rows, d) {
    const float *here = x + row * d;
    float by = 1.0f / sqrtf(dot(here, here, d) / d + epsilon);
    if (inverse) inverse[row] = by;
    scaled(d, here, w, by, y + row * d);
  }
}

INLINE float along(long d, const float *slope, const float *w, const float *x) {
  lane total = splat(0);
  for (long i = 0; i < d; i += LANE) total += load(slope + i) * load(w + i) * load(x + i);
  return sum(total);
}

/* The slope of x, added to `more`, given that of y. */
void norm_back(long rows, long d, const float *slope, const float *w, const float *x,
               const float *inverse, const float *more, float *out, int threads) {
  EACH_ROW(rows, d) {
    long at = row * d;
    float by = inverse[row];
    lane less = splat(along(d, slope + at, w, x + at) * by * by * by / d);
    for (long i = at; i < at + d; i += LANE)
      store(out + i, load(more + i) + load(slope + i) * load(w + i - at) * splat(by) -
                         load(x + i) * less);
  }
}

INLINE lane sigmoid(lane x) { return splat(1) / (splat(1) + exponential(-x)); }

/* out (rows, n) = silu(gate) up of the halves of wide (rows, 2 n). */
void gate(long rows, long n, const float *wide, float *out, int threads) {
  EACH_ROW(rows, n) {
    const float *open = wide + 2 * row * n, *up = open + n;
    for (long i = 0; i < n; i += LANE) {
      lane x = load(open + i);
      store(out + row * n + i, x * sigmoid(x) * load(up + i));
    }
  }
}

/* The slopes of gate and up beside one another, given that of their product. */
void gate_back(long rows, long n, const float *slope, const float *wide, float *out, int threads) {
  EACH_ROW(rows, n) {
    const float *open = wide + 2 * row * n, *up = open + n;
    float *of_gate = out + 2 * row * n, *of_up = of_gate + n;
    for (long i = 0; i < n; i += LANE) {
      lane x = load(open + i), s = sigmoid(x), g = load(slope + row * n + i);
      store(of_up + i, g * x * s);
      store(of_gate + i, g * load(up + i) * s * (splat(1) + x * (splat(1) - s)));
    }
  }
}

/* Turns heads in place by the angles of the row, of which there are `period`; -1 turns back. */
void turn(long rows, long heads, long size, float *x, long xm, const float *cos, const float *sin,
          long period, float sign, int threads) {
  long half = size / 2;
  EACH_ROW(rows, heads * size) {
    const float *c = cos + row % period * half, *s = sin + row % period * half;
    for (float *head = x + row * xm; head < x + row * xm + heads * size; head += size)
      for (long i = 0; i < half; i += LANE) {
        lane a = load(head + i), b = load(head + half + i), t = load(s + i) * splat(sign);
        store(head + i, a * load(c + i) - b * t);
        store(head + half + i, b * load(c + i) + a * t);
      }
  }
}
