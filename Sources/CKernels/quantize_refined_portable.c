#include "quantize_searches.h"

// The search for the least error, one block after the other.
#define LANES 1
#define REFINES true
#define QUANTIZER(name) quantize_##name
#define QUANTIZERS es_quantizer_refined_portable_of
#define QUANTIZER_CLONES
#include "quantize_rows.h"
