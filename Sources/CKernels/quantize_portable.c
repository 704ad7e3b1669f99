// One block after the other: what the vectors must equal.
#define LANES 1
#define QUANTIZER(name) es_quantize_##name##_portable
#define QUANTIZER_CLONES
#include "quantize_rows.h"
