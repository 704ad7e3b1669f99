#include "quantize_searches.h"

// The search for the least error, sixteen blocks at a time.
#define LANES 16
#define REFINES true
#define QUANTIZER(name) quantize_##name
#define QUANTIZERS es_quantizer_refined_of
#define QUANTIZER_CLONES ES_CLONES
#include "quantize_rows.h"
