internal import EspalierBasics
internal import EspalierNumerics

/// What the config of a model says of how its weights are quantized: the section `quantization_config` of `config.json`,
/// or the file `quantize_config.json` (GPTQ) or `quant_config.json` (AWQ) of older models.
struct PackedConfiguration {
  enum Method {
    case gptq(GPTQConfiguration)
    case awq(groupSize: Int?)
    case compressedTensors(CompressedTensorsConfiguration)
  }

  /// Nil if weights are not quantized, or not stored so.
  var method: Method?
  /// Whether weights may be plain all the same: the file is a leftover, or what compressed-tensors rounded is not packed.
  var mayBePlain = false
  /// The config of the model as it is opened: without the section, since parameters are given unpacked.
  var config: JSON?

  private static let keys = ["quantization_config", "compression_config"]

  /// - Parameters:
  ///   - config: `config.json`.
  ///   - folder: where older files are looked for.
  ///   - problems: gets everything about the quantization that is not read.
  init(of config: JSON?, in folder: String?, problems: inout Problems, warnings: inout [Problem]) {
    self.config = config
    var section: JSON?
    for key in Self.keys {
      if let found = config?[key], !found.isNull { section = section ?? found }
      self.config?[key] = nil
      // Models of several towers have it in the text's.
      if let inner = config?["text_config"]?[key], !inner.isNull {
        section = section ?? inner
        var text = self.config?["text_config"]
        text?[key] = nil
        self.config?["text_config"] = text
      }
    }
    var fallback: String?
    if section == nil, let folder {
      for (name, method) in [("quantize_config.json", "gptq"), ("quant_config.json", "awq")]
      where section == nil && FileSystem.isFile("\(folder)/\(name)") {
        fallback = method
        section = problems.collect { () throws(Problem) in
          do throws(Problem) {
            return try JSON(parsing: try FileSystem.read("\(folder)/\(name)", limit: 64 << 20), acceptingInfinity: true)
          } catch { throw error.at(file: "\(folder)/\(name)") }
        }
      }
    }
    guard let section else { return }
    let status = section["quantization_status"]?.string ?? "compressed"
    mayBePlain = fallback != nil || !status.isSame(as: "compressed")
    let method = section["quant_method"]?.string ?? fallback ?? section["method"]?.string
    switch method {
    case "gptq": self.method = GPTQConfiguration(section, problems: &problems).map { .gptq($0) }
    case "awq": self.method = Self.awq(section, problems: &problems)
    case "compressed-tensors":
      self.method = CompressedTensorsConfiguration(section, problems: &problems, warnings: &warnings).map {
        .compressedTensors($0)
      }
    default:
      problems.add(
        Problem(
          .checkpointPacked,
          "the weights are quantized by \(method.map { "the method \"\($0)\"" } ?? "a method without a name")",
          remedy: "Read are gptq, awq and compressed-tensors. Give the model before it was quantized."))
    }
  }

  private static func awq(_ section: JSON, problems: inout Problems) -> Method? {
    let before = problems.all.count
    let version = (section["version"] ?? section["checkpoint_format"] ?? section["format"])?.string ?? "gemm"
    if !version.isSame(as: "gemm") {
      problems.add(Problem(.checkpointPacked, "AWQ weights are packed for \"\(version)\"; \"gemm\" is read"))
    }
    if let backend = section["backend"]?.string, backend.isSame(as: "llm-awq") {
      problems.add(Problem(.checkpointPacked, "AWQ weights are packed by \"\(backend)\"; \"autoawq\" is read"))
    }
    let bits = (section["bits"] ?? section["w_bit"])?.integer ?? 4
    if bits != 4 { problems.add(Problem(.checkpointPacked, "AWQ weights have \(bits) bits; 4 are read")) }
    let size = groupSize(section["group_size"] ?? section["q_group_size"], problems: &problems)
    return problems.all.count == before ? .awq(groupSize: size) : nil
  }

  /// `group_size`: positive, or -1 for all columns (nil).
  static func groupSize(_ json: JSON?, problems: inout Problems) -> Int? {
    guard let json, !json.isNull else { return nil }
    guard let size = json.integer, size > 0 || size == -1 else {
      problems.add(
        Problem(.checkpointPacked, "group_size is \(json.text()), and should be positive, or -1 for whole rows"))
      return nil
    }
    return size > 0 ? size : nil
  }

  /// The type that the model computes in, as its config says.
  var declaredType: ElementType? {
    switch (config?["dtype"] ?? config?["torch_dtype"] ?? config?["text_config"]?["dtype"])?.string {
    case "float16", "torch.float16": .f16
    case "bfloat16", "torch.bfloat16": .bf16
    default: nil
    }
  }
}

/// `{"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": false, "checkpoint_format": "gptq", ...}`
struct GPTQConfiguration {
  /// Nil where modules differ (`dynamic`): each has what its tensors say.
  var bits: Int?
  /// Nil for whole rows.
  var groupSize: Int?
  /// Whether modules differ.
  var differs: Bool
  /// What is added to stored zero points: 1 in the first version of the layout.
  var zeroOffset: Int

  static let bits = [2, 3, 4, 8]

  init?(_ section: JSON, problems: inout Problems) {
    let before = problems.all.count
    let format = (section["checkpoint_format"] ?? section["format"])?.string ?? "gptq"
    zeroOffset = format.isSame(as: "gptq_v2") ? 0 : 1
    if !format.isSame(as: "gptq"), !format.isSame(as: "gptq_v2") {
      problems.add(
        Problem(.checkpointPacked, "GPTQ weights are in the format \"\(format)\"; \"gptq\" and \"gptq_v2\" are read"))
    } else if section["is_marlin_format"]?.bool == true {
      problems.add(
        Problem(.checkpointPacked, "GPTQ weights are in the format \"marlin\"; \"gptq\" and \"gptq_v2\" are read"))
    }
    if let type = section["pack_dtype"]?.string, !type.isSame(as: "int32"), !type.isSame(as: "torch.int32") {
      problems.add(Problem(.checkpointPacked, "GPTQ weights are packed in words of \(type); int32 is read"))
    }
    bits = (section["bits"] ?? section["wbits"])?.integer
    if let bits, !Self.bits.contains(bits) {
      problems.add(Problem(.checkpointPacked, "GPTQ weights have \(bits) bits; 2, 3, 4 and 8 are read"))
    } else if bits == nil {
      problems.add(Problem(.checkpointPacked, "the quantization of the config has no whole number `bits`"))
    }
    groupSize = PackedConfiguration.groupSize(section["group_size"] ?? section["groupsize"], problems: &problems)
    differs = section["dynamic"]?.members.map { !$0.isEmpty } ?? false
    guard problems.all.count == before else { return nil }
  }
}

extension String {
  /// Equal but for the case of ASCII letters.
  func isSame(as other: String) -> Bool { ExactString(lowercased()) == ExactString(other) }
}
