#pragma once
// Products of activations with coded weights.
