#include "quantize_searches.h"

// One block after the other: what the vectors must equal.
#define LANES 1
#define REFINES false
#define QUANTIZER(name) quantize_##name
#define QUANTIZERS es_quantizer_portable_of
#define QUANTIZER_CLONES
#include "quantize_rows.h"
