import EspalierBasics
import TestSupport

/// Models that tests write: a folder with a config and bf16 matrices.
struct TestModel {
  var tensors: [(name: String, shape: [Int])]

  /// Layers of two square matrices and a vector: `layers` times `4 * width * width + 2 * width` bytes.
  static func layers(_ layers: Int, width: Int) -> TestModel {
    TestModel(
      tensors: (0..<layers).flatMap { layer in
        [
          ("model.layers.\(layer).first.weight", [width, width]),
          ("model.layers.\(layer).second.weight", [width, width]),
          ("model.layers.\(layer).norm.weight", [width]),
        ]
      })
  }

  /// Bytes of the weight file, header included.
  var byteCount: Int { header.count + dataBytes }
  private var dataBytes: Int { tensors.reduce(0) { $0 + 2 * $1.shape.reduce(1, *) } }

  private var header: [UInt8] {
    var offset = 0
    let members = tensors.map { tensor -> (String, JSON) in
      let begin = offset
      offset += 2 * tensor.shape.reduce(1, *)
      return (
        tensor.name,
        [
          "dtype": "BF16", "shape": .array(tensor.shape.map { .number($0) }),
          "data_offsets": [.number(begin), .number(offset)],
        ]
      )
    }
    let text = Array(JSON.object(members).text().utf8)
    return (0..<8).map { UInt8(truncatingIfNeeded: text.count >> (8 * $0)) } + text
  }

  /// Writes the folder with normal-sized random values, keyed by the seed.
  func write(to folder: String, seed: UInt64) throws {
    try writeFolder(folder)
    var generator = SeededGenerator(seed: seed)
    // Four elements at once: sign and fraction at random, exponents from 2^-7 to 2^0.
    let words = (0..<(dataBytes + 7) / 8).map { _ in
      generator.next() & 0x83FF_83FF_83FF_83FF | 0x3C00_3C00_3C00_3C00
    }
    let file = try File.writing("\(folder)/model.safetensors")
    try file.write(header, at: 0)
    try words.withUnsafeBytes { bytes in
      try file.write(UnsafeRawBufferPointer(rebasing: bytes[..<dataBytes]), at: header.count)
    }
  }

  /// Writes the folder with zeros that take no room on the disk.
  func writeSparse(to folder: String) throws {
    try writeFolder(folder)
    let file = try File.writing("\(folder)/model.safetensors")
    try file.write(header, at: 0)
    try file.resize(to: byteCount)
  }

  private func writeFolder(_ folder: String) throws {
    try FileSystem.createFolder(folder)
    let config: JSON = ["model_type": "test", "num_hidden_layers": .number(tensors.count / 3), "dtype": "bfloat16"]
    try FileSystem.write(Array(config.text().utf8), to: "\(folder)/config.json")
  }
}

/// Three models, a recipe that merges them, and the output of an undisturbed run.
struct MergeScene {
  let folder: String
  var recipe: String { "\(folder)/recipe.yml" }
  var reference: String { "\(folder)/reference/merged" }
  var output: String { "\(folder)/merged" }
  var partial: String { output + ".partial" }
  var journal: String { partial + "/journal.jsonl" }

  static let tensorCount = 3 * 8
  static let matrixCount = 2 * 8
  static let text = """
    # Random choices, several passes, several shards.
    merge_method: della
    base_model: base
    models:
      - model: one
        parameters: {weight: 0.5, density: 0.6, epsilon: 0.2}
      - model: two
        parameters: {weight: 0.4, density: 0.5, epsilon: 0.1}
    dtype: bfloat16
    """

  init(in folder: String) throws {
    self.folder = folder
    for (seed, name) in ["base", "one", "two"].enumerated() {
      try TestModel.layers(8, width: 1024).write(to: "\(folder)/\(name)", seed: UInt64(seed))
    }
    try write(Self.text, to: recipe)
    try FileSystem.createFolder("\(folder)/reference")
    _ = try Program.run(arguments(output: reference))
  }

  /// One thread and small shards, so that there is much to interrupt.
  func arguments(_ further: String..., output: String? = nil) -> [String] {
    ["merge", recipe, "-o", output ?? self.output, "--threads", "1", "--shard-size", "6MB", "--quiet"] + further
  }

  /// Lines of the journal: its beginning, then one a finished tensor.
  var journalLines: Int {
    (try? FileSystem.read(journal).count { $0 == UInt8(ascii: "\n") }) ?? 0
  }

  /// Runs until the journal has `lines` lines and kills the run.
  func interrupt(after lines: Int, _ further: String...) throws {
    let run = try Program(arguments() + further)
    run.wait { journalLines >= lines }
    run.killAtOnce()
    try run.wait()
  }
}
