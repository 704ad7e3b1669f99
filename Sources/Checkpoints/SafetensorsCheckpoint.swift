public import EspalierBasics

/// A Hugging Face folder with safetensors (one file, or shards with an index), or a bare safetensors file.
///
/// Opening reads headers and `config.json`, no weights. Matrices may be stored in reduced forms (``ReducedSection``) or
/// quantized (``PackedStorage``); a parameter is one of them then, not the tensors of its form, and the config does not
/// speak of quantization.
public struct SafetensorsCheckpoint: Checkpoint {
  public let location: String
  public let config: JSON?
  public let parameters: [Parameter]
  public let folder: String?
  public let weightFiles: [String]
  public let warnings: [Problem]
  /// `__metadata__` of the first file.
  public let metadata: [(key: String, value: String)]

  static let singleName = "model.safetensors"
  static let indexName = "model.safetensors.index.json"

  /// - Throws: every problem found, not only the first.
  public init(at path: String) throws(Problems) {
    var problems = Problems()
    var warnings: [Problem] = []
    location = path
    let stored: JSON?
    var listed: ShardIndex?
    var names: [String] = []
    switch FileSystem.kind(path) {
    case _ where WeightFile.isThere(path):
      folder = nil
      stored = nil
      names = [WeightFile.name(path)]
    case .folder:
      folder = path
      stored = problems.collect { () throws(Problem) in try Self.readConfig(in: path) } ?? nil
      if WeightFile.isThere("\(path)/\(Self.singleName)") {
        names = ["\(path)/\(Self.singleName)"]
      } else if FileSystem.isFile("\(path)/\(Self.indexName)") {
        listed = problems.collect { () throws(Problem) in try ShardIndex(in: path) }
        names = listed?.files.map { "\(path)/\($0)" } ?? []
      } else if let others = problems.collect({ () throws(Problem) in try Self.looseFiles(in: path) }) {
        names = others
      }
    default:
      throw Problems([
        Problem(
          .checkpointMissing, "there is no model at \(path)",
          remedy: "Give a folder with safetensors files, or a .safetensors file.", file: path)
      ])
    }

    var parameters: [Parameter] = []
    var metadata: [(key: String, value: String)]?
    var seen: [ExactString: String] = [:]
    for name in names {
      guard
        let header = problems.collect({ () throws(Problem) in
          try SafetensorsHeader(reading: try WeightFile.open(name))
        })
      else { continue }
      guard !header.isDelta else {
        problems.add(
          Problem(
            .checkpointFormat, "the file holds a delta, not a model", remedy: "Name it on its base: BASE+\(name).",
            file: name))
        continue
      }
      metadata = metadata ?? header.metadata
      for tensor in header.tensors {
        if let other = seen.updateValue(name, forKey: ExactString(tensor.name)) {
          problems.add(
            Problem(
              .checkpointIndex, "the tensor is stored twice: also in \(FileSystem.lastComponent(of: other))",
              file: name, tensor: tensor.name))
        }
      }
      parameters +=
        problems.collect { () throws(Problem) in
          do throws(Problem) { return try ReducedSection.parameters(of: header) } catch { throw error.at(file: name) }
        } ?? []
    }
    if let listed { Self.compare(listed, with: seen, in: path, problems: &problems, warnings: &warnings) }
    let quantization = PackedConfiguration(of: stored, in: folder, problems: &problems, warnings: &warnings)
    let files = FilePool()
    parameters = PackedParameters.gather(
      parameters, quantization,
      bytes: { (tensor) throws(Problem) in try files.file(tensor.file).read(tensor.byteCount, at: tensor.offset) },
      problems: &problems, warnings: &warnings)
    guard problems.all.isEmpty else { throw problems }
    config = quantization.config

    self.parameters = parameters.sorted { Self.precedes($0.name, $1.name) }
    weightFiles = names
    self.metadata = metadata ?? []
    self.warnings = warnings
  }

  /// Order of names by their bytes, the same everywhere.
  public static func precedes(_ a: String, _ b: String) -> Bool {
    a.utf8.lexicographicallyPrecedes(b.utf8)
  }

  private static func readConfig(in folder: String) throws(Problem) -> JSON? {
    let path = "\(folder)/config.json"
    guard FileSystem.isFile(path) else { return nil }
    do throws(Problem) {
      let json = try JSON(parsing: try FileSystem.read(path, limit: 64 << 20), acceptingInfinity: true)
      guard json.members != nil else { throw Problem(.checkpointConfig, "config.json is not an object") }
      return json
    } catch { throw error.at(file: path) }
  }

  /// Safetensors files of a folder that has neither the usual name nor an index.
  private static func looseFiles(in folder: String) throws(Problem) -> [String] {
    let names = try WeightFile.list(folder)
    let files = names.filter { $0.hasSuffix(".safetensors") }
    guard files.isEmpty else { return files.map { "\(folder)/\($0)" } }
    let foreign = names.first { $0.hasSuffix(".bin") || $0.hasSuffix(".pt") || $0.hasSuffix(".pth") }
    throw Problem(
      .checkpointFormat,
      foreign.map { "the folder has no safetensors; \($0) is not a format this version reads" }
        ?? "the folder has no safetensors file",
      remedy: foreign == nil ? nil : "Convert the weights to safetensors first.", file: folder)
  }

  private static func compare(
    _ index: ShardIndex, with stored: [ExactString: String], in folder: String,
    problems: inout Problems, warnings: inout [Problem]
  ) {
    for (tensor, file) in index.entries {
      let found = stored[ExactString(tensor)]
      guard found != "\(folder)/\(file)" else { continue }
      problems.add(
        Problem(
          .checkpointIndex,
          found.map { "the index says \(file), but the tensor is in \(FileSystem.lastComponent(of: $0))" }
            ?? "the index says \(file), but no file has the tensor",
          remedy: "The download is incomplete or the index is of another model.", file: "\(folder)/\(indexName)",
          tensor: tensor))
    }
    let listed = Set(index.entries.map { ExactString($0.tensor) })
    for (tensor, file) in stored.sorted(by: { precedes($0.key.text, $1.key.text) }) where !listed.contains(tensor) {
      warnings.append(
        Problem(
          .checkpointIndex, "the index does not list the tensor; it is carried all the same", file: file,
          tensor: tensor.text, severity: .warning))
    }
  }
}

/// `model.safetensors.index.json`: which file holds which tensor.
struct ShardIndex {
  let entries: [(tensor: String, file: String)]
  /// File names without path, sorted.
  let files: [String]

  init(in folder: String) throws(Problem) {
    let path = "\(folder)/\(SafetensorsCheckpoint.indexName)"
    do throws(Problem) { self = try ShardIndex(parsing: try FileSystem.read(path, limit: 256 << 20)) } catch {
      throw error.at(file: path)
    }
  }

  init(parsing bytes: [UInt8]) throws(Problem) {
    guard let map = try JSON(parsing: bytes)["weight_map"]?.members else {
      throw Problem(.checkpointIndex, "the index has no weight_map")
    }
    var entries: [(tensor: String, file: String)] = []
    for (tensor, value) in map.pairs {
      guard let file = value.string else {
        throw Problem(.checkpointIndex, "the index names no file for the tensor", tensor: tensor)
      }
      // A name with a path could reach outside the folder.
      guard file.hasSuffix(".safetensors"), !file.contains("/"), !file.contains("\\"), !file.contains("\0") else {
        throw Problem(
          .checkpointIndex, "the index names \"\(file)\", which is no plain safetensors file name", tensor: tensor)
      }
      entries.append((tensor, file))
    }
    self.entries = entries
    files = Set(entries.map(\.file)).sorted(by: SafetensorsCheckpoint.precedes)
  }
}
