#include "quantize_searches.h"

// Sixteen blocks at a time, compiled for each instruction set.
#define LANES 16
#define REFINES false
#define QUANTIZER(name) quantize_##name
#define QUANTIZERS es_quantizer_reference_of
#define QUANTIZER_CLONES ES_CLONES
#include "quantize_rows.h"
