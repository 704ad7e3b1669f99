public import EspalierBasics
internal import EspalierLinearMaps
public import EspalierNumerics

extension PackedLayout {
  /// The parameter that the tensors of ``tensors(of:parameter:)`` hold, as opening a model that has them gives it.
  ///
  /// - Parameters:
  ///   - stored: those tensors in a file, by their names.
  ///   - declaredType: the type of the parameter where scales are of 32 bits; otherwise it is theirs.
  /// - Throws: `checkpoint.packed` for a tensor that is not there or is of another shape.
  public func parameter(
    named name: String, form: Form, in stored: [StoredTensor], declaredType: ElementType? = nil
  ) throws(Problem) -> Parameter {
    let wanted = try tensors(of: form, parameter: name)
    var found: [String: StoredTensor] = [:]
    for tensor in wanted {
      guard let match = stored.first(where: { ExactString($0.name) == ExactString(tensor.name) }),
        match.shape == tensor.shape, match.format == .elements(tensor.elementType)
      else { throw Problem(.checkpointPacked, "the tensor `\(tensor.name)` is not as it was written", tensor: name) }
      found[tensor.name.split(separator: ".").last.map(String.init) ?? tensor.name] = match
    }
    let coding: PackedStorage.Coding =
      switch self {
      case .gptq: .gptq(bits: form.grid.bits, zeroOffset: 1)
      case .gptqV2: .gptq(bits: form.grid.bits, zeroOffset: 0)
      case .awq: .awq
      case .packQuantized: .words(bits: form.grid.bits)
      case .intQuantized, .floatQuantized: .elements
      }
    guard let codes = found["qweight"] ?? found["weight_packed"] ?? found["weight"],
      let scales = found["scales"] ?? found["weight_scale"]
    else { throw Problem(.checkpointPacked, "there are no codes or no scales", tensor: name) }
    let storage = try PackedStorage(
      name: name, coding: coding, rows: form.rows, columns: form.columns,
      groupSize: form.tileColumns >= form.columns ? nil : form.tileColumns, blockRows: form.tileRows, codes: codes,
      scales: scales, zeros: found["qzeros"] ?? found["weight_zero_point"],
      groupIndices: found["g_idx"] ?? found["weight_g_idx"])
    return Parameter(storage, elementType: storage.elementType == .f32 ? declaredType : nil)
  }
}
