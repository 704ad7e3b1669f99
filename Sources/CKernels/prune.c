#include "prune.h"

#include <math.h>
#include <string.h>

#include "clones.h"

#pragma STDC FP_CONTRACT OFF

// MARK: Scores

ES_CLONES void es_prune_scores(const double *w, const double *d, int64_t n, double *scores) {
  for (int64_t i = 0; i < n; i++) scores[i] = w[i] * w[i] / (d[i] * d[i]);
}

ES_CLONES static void magnitudes(const float *w, int64_t n, double *scores) {
  for (int64_t i = 0; i < n; i++) scores[i] = (double)fabsf(w[i]);
}

ES_CLONES static void weighed_magnitudes(const float *w, const double *norms, int64_t n, double *scores) {
  for (int64_t i = 0; i < n; i++) scores[i] = (double)fabsf(w[i]) * norms[i];
}

void es_prune_magnitudes(const float *w, const double *norms, int64_t n, double *scores) {
  if (norms) weighed_magnitudes(w, norms, n, scores);
  else magnitudes(w, n, scores);
}

// MARK: Optimal brain surgeon

// v -= the part of column p that the eliminated columns account for, four of them at a time.
ES_CLONES static void project(double *v, int64_t n, const double *factor, int64_t count, int64_t p) {
  int64_t k = 0;
  for (; k + 4 <= count; k += 4) {
    const double *a = factor + k * n, *b = a + n, *c = b + n, *d = c + n;
    const double fa = a[p], fb = b[p], fc = c[p], fd = d[p];
    ES_ELEMENTWISE
    for (int64_t i = 0; i < n; i++) v[i] -= (fa * a[i] + fb * b[i]) + (fc * c[i] + fd * d[i]);
  }
  for (; k < count; k++) {
    const double *a = factor + k * n;
    const double fa = a[p];
    ES_ELEMENTWISE
    for (int64_t i = 0; i < n; i++) v[i] -= fa * a[i];
  }
}

ES_CLONES static void eliminate(double *w, double *v, double *diagonal, int64_t n, double scale, double error) {
  ES_ELEMENTWISE
  for (int64_t i = 0; i < n; i++) {
    v[i] *= scale;
    w[i] -= error * v[i];
    diagonal[i] -= v[i] * v[i];
  }
}

/// The level nearest to a weight, ties to an even k.
ES_INLINE double level(const es_surgeon *job, double w, int64_t i) {
  double k = w / job->scale[i];
  k = k > job->low[i] ? k : job->low[i];
  k = k < job->high[i] ? k : job->high[i];
  return ((k + 0x1.8p52) - 0x1.8p52) * job->scale[i];
}

int64_t es_prune_surgeon(es_surgeon job, double *w, const double *inverse, double *factor, double *diagonal,
                         int32_t *state, int32_t *order, double *losses) {
  const int64_t n = job.n;
  int32_t *fixed = state, *lost = state + n;
  const int64_t groups = job.of > 0 ? n / job.of : 0;
  memset(state, 0, (size_t)(n + groups) * sizeof *state);
  for (int64_t i = 0; i < n; i++) diagonal[i] = inverse[i * n + i];
  for (int64_t step = 0; step < job.steps; step++) {
    const int rounds = job.removed >= 0 && step >= job.removed;
    int64_t p = -1;
    int beyond = 0;
    double least = 0;
    for (int64_t i = 0; i < n; i++) {
      if (fixed[i] || (!rounds && job.of > 0 && i / job.of < groups && lost[i / job.of] >= job.drop)) continue;
      if (!(diagonal[i] > 0)) return step;
      const double error = rounds ? w[i] - level(&job, w[i], i) : w[i];
      const int far = rounds && fabs(error) > 0.5000001 * fabs(job.scale[i]);
      const double score = error * error / diagonal[i];
      if (p < 0 || far > beyond || (far == beyond && score < least)) p = i, least = score, beyond = far;
    }
    if (p < 0) return step;
    double *v = factor + step * n;
    memcpy(v, inverse + p * n, (size_t)n * sizeof *v);
    project(v, n, factor, step, p);
    const double pivot = v[p];
    if (!(pivot > 0)) return step;
    const double root = sqrt(pivot), target = rounds ? level(&job, w[p], p) : 0;
    eliminate(w, v, diagonal, n, 1 / root, (w[p] - target) / root);
    fixed[p] = 1;
    if (job.of > 0 && p / job.of < groups) lost[p / job.of]++;
    order[step] = (int32_t)p;
    losses[step] = least / 2;
    // What projections leave of weights that are fixed is rounding alone.
    w[p] = target;
    for (int64_t k = 0; k < step; k++) {
      const int64_t i = order[k];
      w[i] = job.removed >= 0 && k >= job.removed ? level(&job, w[i], i) : 0;
    }
  }
  return job.steps;
}

// MARK: Net-Trim

ES_CLONES void es_prune_shrink(const double *values, int64_t n, double threshold, double *shrunk) {
  for (int64_t i = 0; i < n; i++) {
    const double rest = fabs(values[i]) - threshold;
    shrunk[i] = copysign(rest > 0 ? rest : 0, values[i]);
  }
}
