internal import EspalierLinearMaps
internal import EspalierNumerics

extension PackedLayout {
  /// What the programs that a layout is of do not take, though it can be written: gptqmodel 7.7, compressed-tensors 0.20
  /// in transformers 5 (measured).
  ///
  /// - Parameter isTransposed: whether the model has the matrix as `[in, out]`.
  /// - Returns: what they do not read and what they would, or nil.
  public func caution(about form: Form, isTransposed: Bool) -> (message: String, remedy: String)? {
    switch self {
    case .gptq, .gptqV2, .awq:
      let sizes = [-1, 16, 32, 64, 128, 256, 512, 1024]
      guard !sizes.contains(form.groupSize) else { return nil }
      return (
        "gptqmodel reads no groups of \(form.groupSize) columns",
        "Give --group 16, 32, 64, 128, 256, 512, 1024 or row, if it is to."
      )
    case .packQuantized, .intQuantized, .floatQuantized:
      if isTransposed {
        return (
          "compressed-tensors finds no matrices that the model has as [in, out]",
          "Give --format gptq, which gptqmodel reads."
        )
      }
      if form.reordersColumns {
        return (
          "compressed-tensors has left out groups of columns in another order with 0.20",
          "Give --set static_groups=true, or --format gptq."
        )
      }
      if case .float(.f8e5m2) = form.grid {
        return (
          "transformers takes E5M2 for E4M3 unless it is told to decode when it loads",
          "Load it with CompressedTensorsConfig(run_compressed=False), or quantize to e4m3."
        )
      }
      if self == .packQuantized, form.hasZeros {
        return (
          "transformers reads zero points of pack-quantized only where it is told to decode when it loads",
          "Load it with CompressedTensorsConfig(run_compressed=False), or quantize symmetrically."
        )
      }
      return nil
    }
  }
}
