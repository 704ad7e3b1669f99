internal import EspalierBasics
internal import EspalierNumerics

/// Finds the matrices that a quantized model stores in several tensors each.
struct PackedParameters {
  /// Gives the bytes of a small tensor; nil where files are not there yet.
  typealias Bytes = (StoredTensor) throws(Problem) -> [UInt8]

  private var tensors: [ExactString: StoredTensor] = [:]
  private var packed: [Parameter] = []
  private var used = Set<ExactString>()
  private let declaredType: ElementType?
  /// Whether the family stores some matrices as `[in, out]`.
  private let isTransposed: Bool
  private let bytes: Bytes?

  /// The parameters of a model, with matrices in the place of the tensors that store them.
  ///
  /// - Parameters:
  ///   - parameters: of all files, as they are stored.
  ///   - problems: gets what does not fit the configuration.
  static func gather(
    _ parameters: [Parameter], _ configuration: PackedConfiguration, bytes: Bytes?, problems: inout Problems,
    warnings: inout [Problem]
  ) -> [Parameter] {
    guard let method = configuration.method else { return parameters }
    var gathering = PackedParameters(parameters, configuration, bytes: bytes)
    switch method {
    case .gptq(let gptq):
      gathering.gatherTransposed(problems: &problems) { (all, module) throws(Problem) in try all.gptq(module, gptq) }
    case .awq(let groupSize):
      gathering.gatherTransposed(problems: &problems) { (all, module) throws(Problem) in
        try all.awq(module, groupSize)
      }
    case .compressedTensors(let compressed):
      gathering.gatherCompressed(compressed, problems: &problems, warnings: &warnings)
    }
    if gathering.packed.isEmpty, problems.errors.isEmpty, !configuration.mayBePlain {
      problems.add(
        Problem(.checkpointPacked, "the config says that weights are quantized, but no tensor is stored so"))
    }
    let taken = Set(gathering.packed.map { ExactString($0.name) })
    let others = parameters.filter { !gathering.used.contains(ExactString($0.name)) }
    for other in others where taken.contains(ExactString(other.name)) {
      problems.add(
        Problem(.checkpointPacked, "the parameter is stored twice, plain and quantized", tensor: other.name))
    }
    return others + gathering.packed
  }

  private init(_ parameters: [Parameter], _ configuration: PackedConfiguration, bytes: Bytes?) {
    for parameter in parameters {
      if case .stored(let tensor) = parameter.recipe { tensors[ExactString(parameter.name)] = tensor }
    }
    declaredType = configuration.declaredType
    isTransposed = (configuration.config?["model_type"]?.string).map { Self.transposedModels.contains($0) } ?? false
    self.bytes = bytes
  }

  /// The modules that have a tensor with this suffix, in the order of their names.
  private func modules(with suffix: String) -> [String] {
    tensors.keys.map(\.text).filter { $0.hasSuffix(suffix) }.map { String($0.dropLast(suffix.count)) }
      .sorted(by: SafetensorsCheckpoint.precedes)
  }

  private mutating func take(_ name: String) -> StoredTensor? {
    guard let tensor = tensors[ExactString(name)] else { return nil }
    used.insert(ExactString(name))
    return tensor
  }

  private mutating func require(_ name: String) throws(Problem) -> StoredTensor {
    guard let tensor = take(name) else {
      throw Problem(.checkpointPacked, "the tensor `\(name)` of a quantized matrix is not in the model")
    }
    return tensor
  }

  private mutating func add(_ storage: PackedStorage) {
    // A model that computes in 16 bits rounds products with scales of 32 to them.
    var parameter = Parameter(storage, elementType: storage.elementType == .f32 ? declaredType : nil)
    let module = storage.name.split(separator: ".").dropLast().last.map { String($0) }
    if isTransposed, let module, Self.transposedModules.contains(module) {
      parameter.shape.reverse()
      parameter.recipe = .transposed(parameter.recipe, shape: parameter.shape)
    }
    packed.append(parameter)
  }

  /// Layers of GPT-2 and its kin, whose own matrices are `[in, out]`; layouts have them as they have all others.
  private static let transposedModules = ["c_attn", "c_proj", "c_fc", "q_attn"]
  private static let transposedModels = ["gpt2", "openai-gpt", "imagegpt"]

  /// Words and sizes of a matrix have two dimensions.
  private func requireMatrix(_ tensor: StoredTensor) throws(Problem) {
    guard tensor.shape.count == 2, tensor.shape.allSatisfy({ $0 > 0 }) else {
      throw Problem(
        .checkpointPacked, "codes of the shape \(tensor.shape) are no matrix; stacked ones are not read",
        tensor: tensor.name)
    }
  }

  // MARK: - GPTQ and AWQ

  private mutating func gatherTransposed(
    problems: inout Problems, _ storage: (inout PackedParameters, String) throws(Problem) -> PackedStorage
  ) {
    for module in modules(with: ".qweight") {
      do throws(Problem) { add(try storage(&self, module)) } catch {
        problems.add(error.at(tensor: "\(module).weight"))
      }
    }
    for suffix in [".qzeros", ".g_idx"] {
      for module in modules(with: suffix) where tensors[ExactString("\(module).qweight")] == nil {
        problems.add(
          Problem(
            .checkpointPacked, "the tensor belongs to a quantized matrix, but `\(module).qweight` is not in the model",
            tensor: module + suffix))
      }
    }
  }

  /// Codes run along inputs. How many bits they have follows from the zero points, so that it may differ.
  private mutating func gptq(
    _ module: String, _ configuration: GPTQConfiguration
  ) throws(Problem) -> PackedStorage {
    let codes = try require("\(module).qweight")
    let scales = try require("\(module).scales")
    let zeros = try require("\(module).qzeros")
    let indices = take("\(module).g_idx")
    try requireMatrix(codes)
    try requireMatrix(zeros)
    let rows = codes.shape[1]
    let fitting = GPTQConfiguration.bits.filter { PackedStorage.words(rows, $0) == zeros.shape[1] }
    guard let bits = configuration.differs ? fitting.first : configuration.bits else {
      throw Problem(
        .checkpointPacked, "zero points of the shape \(zeros.shape) are of no number of bits for \(rows) outputs",
        tensor: zeros.name)
    }
    let columns = indices?.shape.first ?? codes.shape[0] * 32 / bits
    var groupSize = configuration.groupSize
    if configuration.differs { groupSize = (columns - 1) / max(1, scales.shape.first ?? 1) + 1 }
    return try PackedStorage(
      name: "\(module).weight", coding: .gptq(bits: bits, zeroOffset: configuration.zeroOffset), rows: rows,
      columns: columns, groupSize: groupSize, codes: codes, scales: scales, zeros: zeros, groupIndices: indices)
  }

  private mutating func awq(_ module: String, _ groupSize: Int?) throws(Problem) -> PackedStorage {
    let codes = try require("\(module).qweight")
    let scales = try require("\(module).scales")
    let zeros = try require("\(module).qzeros")
    try requireMatrix(codes)
    return try PackedStorage(
      name: "\(module).weight", coding: .awq, rows: codes.shape[1] * 8, columns: codes.shape[0], groupSize: groupSize,
      codes: codes, scales: scales, zeros: zeros)
  }

  // MARK: - compressed-tensors

  private mutating func gatherCompressed(
    _ configuration: CompressedTensorsConfiguration, problems: inout Problems, warnings: inout [Problem]
  ) {
    for (suffix, isPacked) in [(".weight_packed", true), (".weight_scale", false)] {
      for module in modules(with: suffix) where isPacked || tensors[ExactString("\(module).weight_packed")] == nil {
        do throws(Problem) {
          add(try compressed(module, try configuration.group(of: module), isPacked: isPacked))
        } catch { problems.add(error.at(tensor: "\(module).weight")) }
      }
    }
    var dropped = 0
    let inputs = [".input_scale", ".input_zero_point", ".output_scale", ".output_zero_point"]
    let matrices = Set(packed.map { ExactString($0.name) })
    for suffix in inputs {
      for module in modules(with: suffix) where matrices.contains(ExactString("\(module).weight")) {
        if take(module + suffix) != nil { dropped += 1 }
      }
    }
    if configuration.quantizesCache {
      for suffix in [".k_scale", ".v_scale", ".q_scale", ".k_zero_point", ".v_zero_point", ".q_zero_point"] {
        for module in modules(with: suffix) where take(module + suffix) != nil { dropped += 1 }
      }
    }
    if dropped > 0 {
      warnings.append(
        Problem(
          .checkpointPacked, "\(dropped) tensors that quantize inputs or cached keys and values are left out",
          severity: .warning))
    }
  }

  private mutating func compressed(
    _ module: String, _ group: CompressedTensorsConfiguration.Group, isPacked: Bool
  ) throws(Problem) -> PackedStorage {
    guard isPacked == (group.format == .pack) else {
      throw Problem(
        .checkpointPacked,
        "the matrix is \(isPacked ? "packed in words" : "stored element by element"), but the group \"\(group.name)\" is "
          + "\(group.format.rawValue)")
    }
    let codes = try require(isPacked ? "\(module).weight_packed" : "\(module).weight")
    let scales = try require("\(module).weight_scale")
    let zeros = take("\(module).weight_zero_point")
    let indices = take("\(module).weight_g_idx")
    let shape = take("\(module).weight_shape")
    try requireMatrix(codes)
    if !group.isSymmetric, zeros == nil {
      throw Problem(.checkpointPacked, "the tensor `\(module).weight_zero_point` of the matrix is not in the model")
    }
    if !isPacked, group.isFloat == (codes.elementType == .i8) {
      throw Problem(
        .checkpointPacked,
        "the tensor is \(codes.elementType.safetensorsName), but the group \"\(group.name)\" has "
          + "\(group.isFloat ? "floats" : "integers")", tensor: codes.name)
    }
    let rows = codes.shape[0]
    var columns = codes.shape[1]
    if isPacked { columns = try self.columns(codes, scales, shape, group) }
    var (groupSize, blockRows): (Int?, Int) = (nil, 1)
    switch group.strategy {
    case .tensor: blockRows = rows
    case .channel: break
    case .group(let size): groupSize = size
    case .block(let height, let width): (blockRows, groupSize) = (height, width)
    }
    return try PackedStorage(
      name: "\(module).weight", coding: isPacked ? .words(bits: group.bits) : .elements, rows: rows, columns: columns,
      groupSize: groupSize, blockRows: blockRows, codes: codes, scales: scales, zeros: zeros, groupIndices: indices)
  }

  /// How many columns a packed matrix has: what `weight_shape` says; without it, as many as groups or words hold.
  private func columns(
    _ codes: StoredTensor, _ scales: StoredTensor, _ shape: StoredTensor?,
    _ group: CompressedTensorsConfiguration.Group
  ) throws(Problem) -> Int {
    guard let shape, let bytes else {
      let held = codes.shape[1] * 32 / group.bits
      guard case .group(let size) = group.strategy, let count = scales.shape.last else { return held }
      let (grouped, overflow) = count.multipliedReportingOverflow(by: size)
      return overflow ? held : min(held, grouped)
    }
    let sizes = shape.byteCount <= 64 ? try bytes(shape) : []
    let width = shape.elementType.byteWidth
    let values = stride(from: 0, to: sizes.count - width + 1, by: width).map { start in
      (0..<width).reversed().reduce(Int64(0)) { $0 << 8 | Int64(sizes[start + $1]) }
    }
    guard [.i64, .i32].contains(shape.elementType), values.count == 2, values[0] == codes.shape[0], values[1] > 0,
      values[1] <= Int64(codes.shape[1]) * 32
    else {
      throw Problem(
        .checkpointPacked, "the shape \(values) does not fit codes of the shape \(codes.shape)", tensor: shape.name)
    }
    return Int(values[1])
  }
}
