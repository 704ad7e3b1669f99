#pragma once
// The arithmetic of network operations: norms, activations, attention, scans.
