import EspalierBasics
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierArchitectures
@testable import EspalierCheckpoints

/// A checkpoint with another config or other parameters.
private struct ChangedCheckpoint: Checkpoint {
  var location: String
  var config: JSON?
  var parameters: [Parameter]
  var folder: String?
  var weightFiles: [String]
  var warnings: [Problem] { [] }

  init(_ base: any Checkpoint, config: JSON? = nil) {
    location = base.location
    self.config = config ?? base.config
    parameters = base.parameters
    folder = base.folder
    weightFiles = base.weightFiles
  }
}

private let families = Architecture.builtIn()

private func exported(_ checkpoint: any Checkpoint) throws -> GGUFExport {
  let config = try #require(checkpoint.config)
  let family = try #require(Architecture.recognise(config: config, among: families))
  return try family.ggufExport(of: checkpoint, families: families)
}

private func values(_ parameter: Parameter) throws -> [Float] {
  try parameter.recipe.reader(files: FilePool()).all()
}

private func values(_ tensor: GGUFExport.Tensor) throws -> [Float] {
  switch tensor.content {
  case .parameter(let parameter): try values(parameter)
  case .computed(let values): values
  }
}

/// The same bits, whatever the sign of a zero.
private func areSame(_ a: [Float], _ b: [Float]) -> Bool {
  a.count == b.count && zip(a, b).allSatisfy { $0.bitPattern == $1.bitPattern }
}

extension GGUFExport {
  /// The export as a file of float32.
  fileprivate func write(to path: String) throws {
    var file = TestGGUF()
    metadata.forEachEntry { key, type, array, value in
      var bytes: [UInt8] = []
      if let array {
        bytes = TestGGUF.u32(Int(array.type.rawValue)) + TestGGUF.u64(array.count)
      } else if type == .string {
        bytes = TestGGUF.u64(value.count)
      }
      file.entries.append((key, type.rawValue, bytes + value))
    }
    for tensor in tensors { file.add(tensor.name, shape: tensor.shape, try values(tensor)) }
    try file.write(to: path)
  }
}

/// Held against files of llama.cpp's converter and quantizer.
@Suite struct GGUFExportTests {
  private static let fixtures = "\(FileSystem.parent(of: #filePath))/GGUFFixtures"
  private static let networks = "\(packageFolder)/Tests/NetworksTests/Fixtures"
  private static let written = Set(families.filter(\.writesGGUF).map(\.name))
  private static let names = entries(of: "GGUFFixtures").filter { $0.hasSuffix(".gguf") }.map { String($0.dropLast(5)) }
  private static let unwritten = ["distilbert", "mamba", "mamba2", "t5", "t5_gated"]

  @Test func familiesThatAreWritten() {
    #expect(
      Self.written == [
        "llama", "mistral", "mixtral", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "gemma", "gemma2", "gemma3_text",
        "phi3", "olmo2", "gpt2", "gpt_neox", "bert",
      ])
  }

  // MARK: Files of llama.cpp

  /// What llama.cpp takes for granted and the tiny models have otherwise.
  private static func sayable(_ config: JSON) -> JSON {
    var config = config
    if config["query_pre_attn_scalar"] != nil { config["query_pre_attn_scalar"] = config["head_dim"] }
    return config
  }

  private func compareMetadata(_ export: GGUFExport, with file: GGUFMetadata, adding: [String] = []) {
    func isOwn(_ key: String) -> Bool {
      !["general.", "tokenizer.", "quantize.", "split."].contains { key.hasPrefix($0) }
    }
    for key in export.metadata.keys where isOwn(key) && !adding.contains(key) {
      #expect(export.metadata[key] == file[key] && export.metadata.type(of: key) == file.type(of: key), "\(key)")
    }
    let missing = file.keys.filter { isOwn($0) && export.metadata.type(of: $0) == nil }
    #expect(missing.isEmpty, "\(missing)")
    #expect(export.metadata.text("general.architecture") == file.text("general.architecture"))
  }

  /// The checkpoint that the converter read becomes the file that it wrote: names, shapes, values to the bit, metadata
  /// with their types.
  @Test(arguments: names.filter { !unwritten.contains($0) && !$0.hasSuffix("_fused") })
  func convertedFilesAreMet(name: String) throws {
    let config = try JSON(parsing: try FileSystem.read("\(Self.fixtures)/\(name).json"))
    let checkpoint = ChangedCheckpoint(
      try SafetensorsCheckpoint(at: "\(Self.fixtures)/\(name).safetensors"), config: Self.sayable(config))
    let file = try GGUFCheckpoint(unmappedAt: "\(Self.fixtures)/\(name).gguf")
    let export = try exported(checkpoint)
    // The converter leaves Gemma 3 every sixth layer, whatever the config says.
    compareMetadata(
      export, with: file.metadata, adding: name == "gemma3_text" ? ["gemma3.attention.sliding_window_pattern"] : [])
    let stored = file.parametersByName()
    #expect(Set(export.tensors.map(\.name)) == Set(file.parameters.map(\.name)))
    for tensor in export.tensors {
      let wanted = try #require(stored[ExactString(tensor.name)])
      #expect(tensor.shape == wanted.shape, "\(tensor.name)")
      let (found, expected) = (try values(tensor), try values(wanted))
      if tensor.name == "rope_freqs.weight" {
        // The converter takes powers in float32.
        #expect(zip(found, expected).allSatisfy { abs($0 - $1) <= 1e-6 * $1 })
      } else {
        #expect(areSame(found, expected), "\(tensor.name)")
      }
      // What the converter keeps in float32 where it writes float16.
      if file.parameters.contains(where: { $0.elementType == .f16 }) {
        #expect(tensor.staysFloat32 == (wanted.elementType == .f32), "\(tensor.name)")
      }
    }
  }

  private static let golden: [String] = {
    let kept = "\(packageFolder)/Tests/NetworksTests/GGUF"
    var files = ((try? FileSystem.list(kept)) ?? []).filter { $0.hasSuffix(".gguf") }.map { "\(kept)/\($0)" }
    files += names.filter { !unwritten.contains($0) }.map { "\(fixtures)/\($0).gguf" }
    if let all = FileSystem.environment("ESPALIER_GOLDENS") {
      for model in (try? FileSystem.list("\(all)/gguf/models")) ?? [] {
        let folder = "\(all)/gguf/models/\(model)"
        files += ((try? FileSystem.list(folder)) ?? []).filter { $0.hasSuffix(".gguf") }.map { "\(folder)/\($0)" }
      }
    }
    return files.sorted()
  }()

  /// Opened and exported, a file's tensors are its own bytes again: the recipes that undo each other are gone.
  @Test(arguments: golden)
  func openedFilesAreMetAgain(path: String) throws {
    let file = try GGUFCheckpoint(unmappedAt: path)
    let export = try exported(try GGUFCheckpoint(at: path, families: families))
    let isConverted = path.hasPrefix(Self.fixtures) || path.hasSuffix("-F32.gguf")
    compareMetadata(export, with: file.metadata)
    let stored = file.parametersByName()
    for tensor in export.tensors {
      if let parts = stored[ExactString(tensor.name)] {
        #expect(tensor.shape == parts.shape, "\(tensor.name)")
        guard let parameter = tensor.parameter else {
          let (found, wanted) = (try values(tensor), try values(parts))
          #expect(zip(found, wanted).allSatisfy { abs($0 - $1) <= 1e-6 * $1 } && found.count == wanted.count)
          continue
        }
        let (own, original) = (parameter.recipe.storedTensors, parts.recipe.storedTensors)
        #expect(own.count == 1 && own[0].offset == original[0].offset && own[0].byteCount == original[0].byteCount)
        #expect(own[0].format == original[0].format && parameter.isQuantized == parts.isQuantized, "\(tensor.name)")
        switch parameter.recipe {
        case .stored, .coded: break
        default: Issue.record("\(tensor.name): \(parameter.recipe)")
        }
        #expect(areSame(try values(parameter), try values(parts)), "\(tensor.name)")
      } else {
        // Queries, keys and values of a fused file are written apart.
        #expect(path.contains("_fused") && tensor.name.contains(".attn_"), "\(tensor.name)")
      }
    }
    let known = Set(export.tensors.map(\.name))
    let left = file.parameters.map(\.name).filter { !known.contains($0) && !$0.contains("attn_qkv") }
    #expect(left.isEmpty, "\(left)")
    guard !isConverted else { return }
    #expect(export.transforms.isEmpty)
    // The quantizer's order; the converter has another.
    let order = try GGUFFiles(at: path).headers.flatMap(\.tensors).map(\.name)
    #expect(export.tensors.map(\.name) == order)
  }

  // MARK: There and back

  /// Models whose config says what no file of the family can, by what is complained of.
  private static let refused: [String: String] = [
    "qwen3_moe": "have no name for: model.layers.1.mlp.down_proj.weight", "bert_cls": "classifier.weight",
    "bert_token_variant": "classifier.weight",
    "bert_causal_variant": "an encoder attends to everything", "bert_order_variant": "`hidden_act`",
  ]

  @Test(arguments: entries(of: "../NetworksTests/Fixtures"))
  func modelsComeBack(name: String) throws {
    let folder = try SafetensorsCheckpoint(at: "\(Self.networks)/\(name)")
    let original = Self.sayable(try #require(folder.config))
    let family = try #require(Architecture.recognise(config: original, among: families))
    let checkpoint = ChangedCheckpoint(folder, config: original)
    if !Self.written.contains(family.name) || Self.refused[name] != nil {
      let found = problems { try exported(checkpoint) }
      let text = Self.refused[name] ?? "GGUF files of the family \(family.name) are not written"
      #expect(found.contains { $0.message.contains(text) && $0.code.rawValue.hasPrefix("gguf.") }, "\(found)")
      return
    }
    let export = try exported(checkpoint)
    try withTemporaryFolder { scratch in
      try export.write(to: "\(scratch)/model.gguf")
      let back = try GGUFCheckpoint(at: "\(scratch)/model.gguf", families: families)
      #expect(back.warnings.isEmpty, "\(back.warnings)")
      try compareParameters(back, with: checkpoint, family: family, export)
      try compareConfigs(try #require(back.config), original, family: family, export)
    }
  }

  private func compareParameters(
    _ back: GGUFCheckpoint, with checkpoint: any Checkpoint, family: Architecture, _ export: GGUFExport
  ) throws {
    let description = try family.describe(config: try #require(checkpoint.config))
    var expected: [String: Parameter] = [:]
    for parameter in checkpoint.parameters {
      let described = try #require(description.parameter(named: parameter.name))
      if described.tiedTo == nil { expected[described.name] = parameter }
    }
    // BERT's files are read without the head, and under the names that go with it.
    if family.name == "bert" {
      for name in expected.keys where name.hasPrefix("cls.") || name.hasPrefix("bert.pooler.") { expected[name] = nil }
    }
    let read = Dictionary(
      uniqueKeysWithValues: back.parameters.map { parameter in
        (description.parameter(named: parameter.name)?.name ?? parameter.name, parameter)
      })
    #expect(Set(read.keys) == Set(expected.keys))
    for (name, parameter) in expected {
      let other = try #require(read[name])
      #expect(other.shape == parameter.shape, "\(name)")
      let (found, wanted) = (try values(other), try values(parameter))
      guard case .mapped = other.recipe else {
        #expect(areSame(found, wanted), "\(name)")
        continue
      }
      // One rounding of 1 + x to float32: half a unit in its last place.
      let isNear = zip(found, wanted).allSatisfy { abs($0 - $1) <= abs(1 + $1) * 0x1p-24 }
      #expect(isNear && found.count == wanted.count, "\(name)")
    }
    let inexact = Set(export.transforms.filter { !$0.kind.isExact }.flatMap(\.tensors)).count
    #expect(inexact == back.parameters.count { if case .mapped = $0.recipe { true } else { false } })
  }

  /// The programs of both configs are the same, statement by statement, and so are the rotary frequencies.
  private func compareConfigs(_ back: JSON, _ original: JSON, family: Architecture, _ export: GGUFExport) throws {
    let reader = try #require(Architecture.recognise(config: back, among: families))
    #expect(reader.name == family.name)
    let (read, meant) = (try family.program(config: back), try family.program(config: original))
    let isWindowless = export.warnings.contains { $0.message.contains("attends to all positions") }
    func isCompared(_ section: ModelProgram.Section) -> Bool {
      family.name != "bert" || section.part != .head && section.part != .after
    }
    let sections = (read.sections.filter(isCompared), meant.sections.filter(isCompared))
    #expect(sections.0.map(\.part) == sections.1.map(\.part))
    for (a, b) in zip(sections.0, sections.1) {
      #expect(a.statements.map(\.source) == b.statements.map(\.source))
      for (x, y) in zip(a.statements, b.statements) {
        #expect(x.parameters == y.parameters && x.inputs == y.inputs, "\(x.source)")
        for key in Set(x.settings.keys).union(y.settings.keys) where !(isWindowless && key == "window") {
          #expect(Self.agree(x.settings[key], y.settings[key]), "\(x.source): \(key)")
        }
      }
    }
    guard family.gguf?.isRotary == true else { return }
    let rotary = try [back, original].map { config in
      try GGUFExportRotary(in: Scope(config: config, defaults: family.defaults))
    }
    #expect(rotary[0].base == rotary[1].base && rotary[0].localBase == rotary[1].localBase)
    let scalings = try rotary.map { try $0.scaling(width: 8, allowed: ["linear", "yarn", "llama3", "longrope"]) }
    #expect(scalings[0].metadata.map(\.key) == scalings[1].metadata.map(\.key))
    #expect(scalings[0].metadata.map(\.value) == scalings[1].metadata.map(\.value))
    #expect(scalings[0].tensors.map(\.values) == scalings[1].tensors.map(\.values))
  }

  private static func agree(_ a: Statement.Setting?, _ b: Statement.Setting?) -> Bool {
    func number(_ setting: Statement.Setting?) -> Float? {
      switch setting {
      case .integer(let value): Float(value)
      case .number(let value): Float(value)
      default: nil
      }
    }
    if case .absent = a, case .absent = b { return true }
    if let a = number(a), let b = number(b) { return a == b }
    return a == b
  }
}
