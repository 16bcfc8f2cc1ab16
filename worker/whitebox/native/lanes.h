/* Sixteen floats at a time: what the kernels of this folder share. */
#pragma once
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,fma,prfchw")
#include <immintrin.h>
#include <math.h>
#include <omp.h>
#include <stddef.h>
#include <stdlib.h>

typedef __m512 lane;
enum { LANE = 16, CROWD = 1 << 13 /* numbers from which a second thread pays */ };

#define INLINE static inline __attribute__((always_inline))

INLINE lane splat(float x) { return _mm512_set1_ps(x); }
INLINE lane load(const float *p) { return _mm512_loadu_ps(p); }
INLINE void store(float *p, lane x) { _mm512_storeu_ps(p, x); }
INLINE float sum(lane x) { return _mm512_reduce_add_ps(x); }
INLINE long least(long a, long b) { return a < b ? a : b; }

/* The first n of a lane; none if n is below one. */
INLINE __mmask16 first(long n) { return n >= LANE ? 0xffff : n <= 0 ? 0 : (1u << n) - 1; }

/* Every `step`-th number for the first n of a lane; zeros for the rest. */
INLINE lane every(const float *x, long step, long n) {
  __m512i each = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  __m512i place = _mm512_mullo_epi32(each, _mm512_set1_epi32(step));
  return _mm512_mask_i32gather_ps(splat(0), first(n), place, x, sizeof(float));
}

/* e^x within two units in the last place; not a number stays that. */
INLINE lane exponential(lane x) {
  x = _mm512_max_ps(splat(-104.0f), x);
  lane n = _mm512_roundscale_ps(x * splat(1.44269504f), 8);
  lane r = x - n * splat(0.693359375f) + n * splat(2.12194440e-4f);
  lane p = splat(1.9875691500e-4f);
  p = p * r + splat(1.3981999507e-3f);
  p = p * r + splat(8.3334519073e-3f);
  p = p * r + splat(4.1665795894e-2f);
  p = p * r + splat(1.6666665459e-1f);
  p = p * r + splat(5.0000001201e-1f);
  return _mm512_scalef_ps(p * r * r + r + splat(1.0f), n);
}

INLINE float dot(const float *a, const float *b, long n) {
  lane total = splat(0);
  for (long i = 0; i < n; i += LANE) total += load(a + i) * load(b + i);
  return sum(total);
}

INLINE float highest(const float *x, long n) {
  lane top = splat(-INFINITY);
  for (long i = 0; i < n; i += LANE)
    top = _mm512_mask_max_ps(top, first(n - i), top, _mm512_maskz_loadu_ps(first(n - i), x + i));
  return _mm512_reduce_max_ps(top);
}

/* Numbers to e^(x - top); returns their sum. */
INLINE float exponentials(float *x, long n, float top) {
  lane total = splat(0);
  for (long i = 0; i < n; i += LANE) {
    __mmask16 mask = first(n - i);
    lane power = exponential(_mm512_maskz_loadu_ps(mask, x + i) - splat(top));
    _mm512_mask_storeu_ps(x + i, mask, power);
    total = _mm512_mask_add_ps(total, mask, total, power);
  }
  return sum(total);
}
