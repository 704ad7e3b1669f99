internal import EspalierArchitectures
public import EspalierBasics
internal import EspalierCheckpoints
public import EspalierLinearMaps
internal import EspalierNumerics

/// A tensor whose type is to be chosen, as the file will call it.
struct TypedTensor: Sendable {
  var name: String
  var shape: [Int]
  /// What it is written in if it is not quantized.
  var plain: WeightFormat
}

extension TypedTensor {
  /// Whether llama.cpp multiplies by it in blocks: matrices, but for those that it reads as floats alone.
  func mayBeQuantized(as role: GGUFTensorRole) -> Bool {
    name.hasSuffix("weight") && shape.count >= 2 && !role.staysFloat32(shape: shape)
  }
}

/// What a mix needs to know of a model.
struct MixModel: Sendable {
  var architecture: String
  var layers: Int
  var heads: Int
  var keyValueHeads: Int
  var experts: Int

  init(_ metadata: GGUFMetadata) {
    architecture = metadata.text("general.architecture") ?? ""
    let name = architecture
    // What no model has must not overflow.
    func count(_ key: String) -> Int? {
      let found = metadata.integer("\(name).\(key)") ?? metadata.integers("\(name).\(key)")?.first
      return found.map { min(max($0, 0), 1 << 20) }
    }
    layers = count("block_count") ?? 0
    heads = count("attention.head_count") ?? 1
    keyValueHeads = count("attention.head_count_kv") ?? heads
    experts = count("expert_count") ?? 0
  }

  /// Queries that share a key.
  var queriesPerKey: Int { keyValueHeads > 0 ? heads / keyValueHeads : 1 }
  /// A model of some 70 billion parameters, whose few values are worth more bits.
  var is70B: Bool { layers == 80 && (architecture == "qwen2" || architecture == "llama" && queriesPerKey > 1) }
}

/// Chooses the type of every tensor.
///
/// A rule by pattern comes first, then the mix; what does not divide into the type's blocks gets the next larger type
/// whose blocks of 32 do, as in llama.cpp:
/// ```
/// Q2_K Q3_K -> Q4_0   IQ4_XS -> IQ4_NL   Q4_K -> Q5_0   Q5_K -> Q5_1   Q6_K -> Q8_0   else F16
/// ```
/// Source: the rules of llama.cpp (`llama-quant.cpp`), read off what its quantizer writes.
struct TensorTypes {
  struct Choice: Sendable, Hashable {
    var format: WeightFormat
    /// What was wanted, where the row's length did not allow it.
    var wanted: WeightFormat?
  }

  let mix: QuantizationMix
  let model: MixModel
  /// Every matrix in the type of the mix, but for rules.
  var isPure = false
  var rules: [TensorTypeRule] = []
  var hasImportance = false

  /// The formats of tensors, in their order.
  ///
  /// - Parameter assigned: formats by name, which go before rules and the mix.
  func choices(for tensors: [TypedTensor], assigned: [ExactString: WeightFormat] = [:]) -> [Choice] {
    let roles = tensors.map { GGUFTensorRole(name: $0.name) }
    let hasOutput = roles.contains { $0.kind == .output }
    let values = roles.indices.filter { [.attentionValue, .attentionQueryKeyValue].contains(roles[$0].kind) }
    // The numbers of values count tensors, in the order of layers.
    let ordered = values.sorted { (roles[$0].layer ?? -1, $0) < (roles[$1].layer ?? -1, $1) }
    let place = Dictionary(uniqueKeysWithValues: ordered.enumerated().map { ($0.element, $0.offset) })
    return tensors.indices.map { index in
      let tensor = tensors[index]
      if let format = assigned[ExactString(tensor.name)] { return fitting(format, tensor) }
      if let rule = rules.last(where: { $0.matches(tensor.name) }) {
        return tensor.mayBeQuantized(as: roles[index])
          ? fitting(rule.format, tensor) : Choice(format: tensor.plain, wanted: nil)
      }
      guard tensor.mayBeQuantized(as: roles[index]) else { return Choice(format: tensor.plain, wanted: nil) }
      guard mix.isBlocks, !isPure else { return fitting(mix.base, tensor) }
      return fitting(
        wanted(
          roles[index], tensor, hasOutput: hasOutput, valueNumber: place[index] ?? 0, values: ordered.count), tensor)
    }
  }

  // MARK: - The mix

  private func wanted(
    _ role: GGUFTensorRole, _ tensor: TypedTensor, hasOutput: Bool, valueNumber: Int, values: Int
  ) -> WeightFormat {
    .blocks(blocks(role, tensor, hasOutput: hasOutput, valueNumber: valueNumber, values: values))
  }

  private func blocks(
    _ role: GGUFTensorRole, _ tensor: TypedTensor, hasOutput: Bool, valueNumber: Int, values: Int
  ) -> BlockType {
    guard case .blocks(let base) = mix.base else { return .q8_0 }
    guard let layer = role.layer else {
      let isOutput = role.kind == .output || !hasOutput && role.kind == .tokenEmbedding
      guard isOutput else { return base }
      if mix.name == "MXFP4_MOE" || (tensor.shape.last ?? 0) % 256 != 0 { return .q8_0 }
      return base == .q8_0 ? .q8_0 : .q6_K
    }
    if mix.name == "MXFP4_MOE" { return tensor.shape.count == 3 ? .mxfp4 : .q8_0 }
    switch role.kind {
    case .attentionValue: return value(base, number: valueNumber, of: values)
    case .attentionKey: return model.experts == 8 ? .q8_0 : base
    case .feedForwardDown, .expertDown, .sharedExpertDown: return down(base, layer: layer)
    case .attentionOutput: return attentionOutput(base)
    case .attentionQueryKeyValue: return fused(base)
    default: return base
    }
  }

  /// Layers at both ends, and every third between.
  private func hasMoreBits(_ layer: Int, of count: Int) -> Bool {
    layer < count / 8 || layer >= 7 * count / 8 || (layer - count / 8) % 3 == 2
  }

  private func value(_ base: BlockType, number: Int, of count: Int) -> BlockType {
    var type = base
    switch mix.name {
    case "Q2_K": type = model.queriesPerKey >= 4 ? .q4_K : .q3_K
    case "Q2_K_S": if model.queriesPerKey >= 4 { type = .q4_K }
    case "Q3_K_M": type = number < 2 ? .q5_K : .q4_K
    case "Q3_K_L": type = .q5_K
    case "IQ4_NL", "IQ4_XS": if model.queriesPerKey >= 4 { type = .q5_K }
    case "Q4_K_M", "Q5_K_M": if hasMoreBits(number, of: count) { type = .q6_K }
    case "Q4_K_S": if number < 4 { type = .q5_K }
    default: break
    }
    if model.is70B, type == .q3_K || type == .q4_K { type = .q5_K }
    return model.experts == 8 ? .q8_0 : type
  }

  private func down(_ base: BlockType, layer: Int) -> BlockType {
    let count = model.layers
    switch mix.name {
    case "Q2_K": return .q3_K
    case "Q2_K_S": return layer < count / 8 ? .q4_K : base
    case "Q3_K_M": return layer < count / 16 ? .q5_K : .q4_K
    case "Q3_K_L": return .q5_K
    case "Q4_K_M", "Q5_K_M": return hasMoreBits(layer, of: count) ? .q6_K : base
    case "Q4_K_S": return layer < count / 8 ? .q5_K : base
    case "IQ4_NL", "IQ4_XS": return layer < count / 8 && !hasImportance ? .q5_K : base
    case "Q4_0": return layer < count / 8 && hasImportance ? .q4_1 : base
    case "Q5_0": return layer < count / 8 && hasImportance ? .q5_1 : base
    default: return base
    }
  }

  private func attentionOutput(_ base: BlockType) -> BlockType {
    if model.experts == 8 {
      let small = ["Q2_K", "Q3_K_S", "Q3_K_M", "Q4_K_S", "Q4_K_M", "IQ4_NL", "IQ4_XS"]
      return small.contains(mix.name) ? .q5_K : base
    }
    switch mix.name {
    case "Q2_K": return .q3_K
    case "Q3_K_M": return .q4_K
    case "Q3_K_L": return .q5_K
    default: return base
    }
  }

  private func fused(_ base: BlockType) -> BlockType {
    switch mix.name {
    case "Q3_K_M", "Q3_K_L": .q4_K
    case "Q4_K_M": .q5_K
    case "Q5_K_M": .q6_K
    default: base
    }
  }

  // MARK: - Rows

  private func fitting(_ format: WeightFormat, _ tensor: TypedTensor) -> Choice {
    let length = tensor.shape.last ?? 1
    guard length % format.blockLength != 0, case .blocks(let type) = format else {
      return Choice(format: format, wanted: nil)
    }
    let next: WeightFormat =
      switch type {
      case .q2_K, .q3_K: .blocks(.q4_0)
      case .iq4_xs: .blocks(.iq4_nl)
      case .q4_K: .blocks(.q5_0)
      case .q5_K: .blocks(.q5_1)
      case .q6_K: .blocks(.q8_0)
      default: .elements(.f16)
      }
    return Choice(format: length % next.blockLength == 0 ? next : .elements(.f16), wanted: format)
  }
}

/// A type for the tensors whose names have a pattern: `ffn_down=Q6_K`.
public struct TensorTypeRule: Sendable {
  public let text: String
  public let format: WeightFormat
  private let pattern: RegularExpression

  /// - Parameter text: a regular expression, `=`, and the name of a type.
  /// - Throws: `quantize.type` for another form, a type that is not written, or what is no expression.
  public init(_ text: String) throws(Problem) {
    guard let split = text.lastIndex(of: "="), split > text.startIndex else {
      throw Problem(.quantizationType, "`\(text)` is not PATTERN=TYPE", remedy: "Write it like ffn_down=Q6_K.")
    }
    let name = String(text[text.index(after: split)...])
    guard let format = WeightFormat.gguf(named: name) else {
      throw Problem(
        .quantizationType, "`\(name)` is not a type of tensors that is written",
        remedy: "Types: \(WeightFormat.ggufWritable.map(\.name).joined(separator: ", ")).")
    }
    self.text = text
    self.format = format
    do throws(Problem) { pattern = try RegularExpression.searching(String(text[..<split])) } catch {
      throw Problem(.quantizationType, "`\(text)`: \(error.message)", remedy: error.remedy)
    }
  }

  func matches(_ name: String) -> Bool { pattern.matches(name) }
}
