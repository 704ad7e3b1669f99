#include "quantize.h"
#include "quantize_super.h"

// Walks rows of blocks, LANES at a time, and defines the quantizers of one search: QUANTIZER(name) is what a function
// is called, QUANTIZERS(type) what hands it out, QUANTIZER_CLONES what stands before it; REFINES says which search.

typedef void encode_blocks(struct lane_blocks *blocks, enum quantizer_search search, ints *bytes);

/// Mean squares of up to LANES rows, each summed in order.
ES_INLINE void row_mean_squares(const float *const *rows, int64_t columns, float *means) {
  reals sum = every(0);
  for (int64_t start = 0; start < columns; start += 16) {
    const float *tiles[LANES];
    reals x[16];
    for (int lane = 0; lane < LANES; lane++) tiles[lane] = rows[lane] + start;
    gather(tiles, 16, x);
    for (int i = 0; i < 16; i++) sum += x[i] * x[i];
  }
  sum /= (float)columns;
  memcpy(means, &sum, sizeof sum);
}

/// Rows are taken LANES at a time, so that their blocks fill the lanes whatever their number in a row.
ES_INLINE int64_t quantize_rows(
    const float *numbers, int64_t stride, int64_t rows, int64_t columns, const float *importance, uint8_t *destination,
    int length, int byte_count, bool by_row, bool refined, encode_blocks *encode) {
  const int64_t row_blocks = columns / length;
  const bool weighted = importance != NULL;
  float least_importance = 0;
  if (refined && weighted) {
    for (int64_t i = 0; i < columns; i++) least_importance += importance[i];
    least_importance *= 1e-6f / (float)columns;
  }
  int64_t overflow = -1;
  for (int64_t row = 0; row < rows; row += LANES) {
    const int64_t height = rows - row < LANES ? rows - row : LANES, count = height * row_blocks;
    const float *starts[LANES];
    float means[LANES];
    for (int lane = 0; lane < LANES; lane++) starts[lane] = numbers + (row + (lane < height ? lane : 0)) * stride;
    if (weighted && by_row) row_mean_squares(starts, columns, means);
    int64_t taken = 0, block_row = 0, block = 0;
    while (taken < count) {
      const int lanes = count - taken < LANES ? (int)(count - taken) : LANES;
      const float *lane_numbers[LANES], *lane_importance[LANES];
      float lane_means[LANES];
      for (int lane = 0; lane < LANES; lane++) {
        // Past the last block, the first of these once more.
        lane_numbers[lane] = lane < lanes ? starts[block_row] + block * length : lane_numbers[0];
        if (weighted) lane_importance[lane] = lane < lanes ? importance + block * length : lane_importance[0];
        if (weighted && by_row) lane_means[lane] = lane < lanes ? means[block_row] : lane_means[0];
        if (lane < lanes && ++block == row_blocks) block = 0, block_row++;
      }
      struct lane_blocks blocks;
      gather(lane_numbers, length, blocks.numbers);
      if (weighted) gather(lane_importance, length, blocks.importance);
      if (weighted && by_row) memcpy(&blocks.row_mean_square, lane_means, sizeof lane_means);
      blocks.overflow = (ints)0;
      ints bytes[256];
      if (refined)
        EACH(i, length) blocks.importance[i] = weighted ? blocks.importance[i] + least_importance : every(1);
      if (refined) encode(&blocks, REFINED, bytes);
      else if (weighted) encode(&blocks, WEIGHTED, bytes);
      else encode(&blocks, PLAIN, bytes);
      scatter(bytes, byte_count, lanes, destination);
      destination += (int64_t)lanes * byte_count;
      if (overflow < 0 && any(blocks.overflow)) {
        int lane = 0;
        while (!LANE(blocks.overflow, lane)) lane++;
        overflow = row * row_blocks + taken + lane;
      }
      taken += lanes;
    }
  }
  return overflow;
}

/// `weighs`: importance counts; `by_row`: together with the mean square of the row.
#define DEFINE_QUANTIZER(name, length, byte_count, weighs, by_row)                                                    \
  QUANTIZER_CLONES static int64_t QUANTIZER(name)(                                                                    \
      const float *numbers, int64_t stride, int64_t rows, int64_t columns, const float *importance,                   \
      void *destination) {                                                                                            \
    return quantize_rows(numbers, stride, rows, columns, weighs || REFINES ? importance : NULL, destination, length,  \
                         byte_count, by_row && !REFINES, REFINES, name);                                              \
  }

DEFINE_QUANTIZER(q4_0, 32, 18, true, true)
DEFINE_QUANTIZER(q4_1, 32, 20, true, true)
DEFINE_QUANTIZER(q5_0, 32, 22, true, true)
DEFINE_QUANTIZER(q5_1, 32, 24, true, true)
DEFINE_QUANTIZER(q8_0, 32, 34, false, false)
DEFINE_QUANTIZER(iq4_nl, 32, 18, true, false)
DEFINE_QUANTIZER(mxfp4, 32, 17, false, false)
DEFINE_QUANTIZER(q2_K, 256, 84, true, false)
DEFINE_QUANTIZER(q3_K, 256, 110, true, false)
DEFINE_QUANTIZER(q4_K, 256, 144, true, false)
DEFINE_QUANTIZER(q5_K, 256, 176, true, false)
DEFINE_QUANTIZER(q6_K, 256, 210, true, false)
DEFINE_QUANTIZER(iq4_xs, 256, 136, true, false)

#define TYPE(name) \
  case es_quantized_##name: return QUANTIZER(name);

es_quantizer *QUANTIZERS(es_quantized_type type) {
  switch (type) {
    TYPE(q4_0) TYPE(q4_1) TYPE(q5_0) TYPE(q5_1) TYPE(q8_0) TYPE(iq4_nl) TYPE(mxfp4)
    TYPE(q2_K) TYPE(q3_K) TYPE(q4_K) TYPE(q5_K) TYPE(q6_K) TYPE(iq4_xs)
  }
  return NULL;
}
