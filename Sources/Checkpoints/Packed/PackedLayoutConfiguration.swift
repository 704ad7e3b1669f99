public import EspalierBasics
internal import EspalierLinearMaps

extension PackedLayout {
  /// The section `quantization_config` of `config.json` for a model whose matrices are written in this layout.
  ///
  /// - Parameters:
  ///   - matrices: the names of their parameters, and how each is quantized.
  ///   - plain: parameters of linear layers that are not quantized.
  ///   - quantizesInputs: says that inputs are to be rounded to the type of the codes, token by token, as they come
  ///     (W8A8): for ``intQuantized`` and ``floatQuantized``, which some programs run no other way.
  /// - Throws: `checkpoint.packed` if there is no matrix, or the layout cannot say how they differ.
  public func configuration(
    for matrices: [(parameter: String, form: Form)], plain: [String] = [], quantizesInputs: Bool = false
  ) throws(Problem) -> JSON {
    guard !matrices.isEmpty else { throw Problem(.checkpointPacked, "no matrix is quantized") }
    // A matrix that is no wider than a group of the others is one group of theirs.
    let common = matrices.map(\.form.groupSize).first { $0 != -1 } ?? -1
    let sizes = matrices.map { $0.form.groupSize == -1 && $0.form.columns <= common ? common : $0.form.groupSize }
    switch self {
    case .gptq, .gptqV2: return gptqConfiguration(for: matrices, groupSizes: sizes, plain: plain)
    case .awq:
      for (matrix, size) in zip(matrices, sizes) where size != common {
        throw Problem(
          .checkpointPacked, "the layout awq has groups of one size, and there are groups of \(common) and \(size)",
          tensor: matrix.parameter)
      }
      return .object(
        [
          ("quant_method", "awq"), ("bits", 4), ("group_size", .number(common)), ("zero_point", true),
          ("version", "gemm"), ("modules_to_not_convert", .array(plain.map { .string(Self.module($0)) })),
        ] + Self.exceptions(plain))
    case .packQuantized, .intQuantized, .floatQuantized:
      return compressedConfiguration(for: matrices, plain: plain, quantizesInputs: quantizesInputs)
    }
  }

  private static func module(_ parameter: String) -> String {
    parameter.hasSuffix(".weight") ? String(parameter.dropLast(".weight".count)) : parameter
  }

  /// What most matrices have is said of all, and the others are said by name (`dynamic`).
  private func gptqConfiguration(
    for matrices: [(parameter: String, form: Form)], groupSizes: [Int], plain: [String]
  ) -> JSON {
    struct Kind: Hashable {
      var bits: Int
      var groupSize: Int
      var isSymmetric: Bool
    }
    let kinds = zip(matrices, groupSizes).map { matrix, size in
      Kind(bits: matrix.form.grid.bits, groupSize: size, isSymmetric: !matrix.form.hasZeros)
    }
    var counts: [Kind: Int] = [:]
    for kind in kinds { counts[kind, default: 0] += 1 }
    let most = counts.values.max() ?? 0
    // Of equally many, the first.
    let common = kinds.first { counts[$0] == most } ?? kinds[0]
    var dynamic: [(String, JSON)] = []
    for (matrix, kind) in zip(matrices, kinds) where kind != common {
      dynamic.append(
        (
          "+:\(Self.pattern(matrix.parameter))",
          [
            "bits": .number(kind.bits), "group_size": .number(kind.groupSize), "sym": .bool(kind.isSymmetric),
          ]
        ))
    }
    dynamic += plain.map { ("-:\(Self.pattern($0))", .object([])) }
    return .object(
      [
        ("quant_method", "gptq"), ("bits", .number(common.bits)), ("group_size", .number(common.groupSize)),
        ("desc_act", .bool(matrices.contains { $0.form.reordersColumns })), ("sym", .bool(common.isSymmetric)),
        ("lm_head", .bool(matrices.contains { $0.parameter.hasSuffix("lm_head.weight") })),
        ("checkpoint_format", .string(rawValue)), ("pack_dtype", "int32"),
      ] + (dynamic.isEmpty ? [] : [("dynamic", .object(dynamic))]))
  }

  /// What is not quantized in the words of gptqmodel, which reads no other.
  private static func exceptions(_ plain: [String]) -> [(String, JSON)] {
    plain.isEmpty ? [] : [("dynamic", .object(plain.map { ("-:\(pattern($0))", .object([])) }))]
  }

  /// A pattern of one module's name.
  private static func pattern(_ parameter: String) -> String {
    let special = Set(#"\.+*?()|[]{}^$"#.unicodeScalars)
    var text = "^"
    for scalar in module(parameter).unicodeScalars {
      if special.contains(scalar) { text += #"\"# }
      text.unicodeScalars.append(scalar)
    }
    return text + "$"
  }

  private func compressedConfiguration(
    for matrices: [(parameter: String, form: Form)], plain: [String], quantizesInputs: Bool
  ) -> JSON {
    var groups: [(weights: JSON, modules: [String])] = []
    for (parameter, form) in matrices {
      let weights = Self.weights(form)
      if let index = groups.firstIndex(where: { $0.weights == weights }) {
        groups[index].modules.append(Self.module(parameter))
      } else {
        groups.append((weights, [Self.module(parameter)]))
      }
    }
    var inputs = JSON.null
    if quantizesInputs, self != .packQuantized {
      inputs = [
        "num_bits": 8, "type": self == .intQuantized ? "int" : "float", "symmetric": true, "strategy": "token",
        "dynamic": true,
      ]
    }
    let members = groups.enumerated().map { index, group -> (String, JSON) in
      // One group is of all linear layers but those that are named.
      let targets = groups.count == 1 ? ["Linear"] : group.modules
      return (
        "group_\(index)",
        [
          "targets": .array(targets.map { .string($0) }), "weights": group.weights, "input_activations": inputs,
          "output_activations": nil, "format": .string(rawValue),
        ]
      )
    }
    return [
      "quant_method": "compressed-tensors", "format": .string(rawValue), "quantization_status": "compressed",
      "config_groups": .object(members), "ignore": .array(plain.map { .string(Self.module($0)) }),
      "kv_cache_scheme": nil, "global_compression_ratio": nil,
    ]
  }

  private static func weights(_ form: Form) -> JSON {
    var isFloat = false
    if case .float = form.grid { isFloat = true }
    var weights: [(String, JSON)] = [
      ("num_bits", .number(form.grid.bits)), ("type", isFloat ? "float" : "int"), ("symmetric", .bool(!form.hasZeros)),
      ("strategy", .string(form.strategy.rawValue)),
      ("group_size", form.strategy == .group ? .number(form.tileColumns) : nil), ("dynamic", false),
    ]
    if form.strategy == .block {
      weights.append(("block_structure", [.number(form.tileRows), .number(form.tileColumns)]))
    }
    if form.reordersColumns { weights.append(("actorder", "group")) }
    return .object(weights)
  }
}

extension PackedLayout.Form {
  /// `group_size` as configs have it: -1 for whole rows.
  var groupSize: Int { tileColumns >= columns ? -1 : tileColumns }
}
