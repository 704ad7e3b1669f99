public import EspalierBasics

/// A safetensors file of the changes from a base to a fine-tune, in coded forms.
///
/// The entry `espalier_delta` of `__metadata__` says what is in it (``record``):
///
///     {"version": 1, "kind": "model" or "adapter", "made": {"method": ...}, "base": {"name", "weights", "config",
///      "sample"}, "fine_tune": NAME, "adapter_config": {...}, "tensors": {NAME: {"form", "shape", "scale", "xxh3"}}}
///
/// Of the kind `adapter` the changes are the tensors of a LoRA adapter themselves.
public struct DeltaFile: Sendable {
  public static let key = "espalier_delta"
  static let version = 1

  public let path: String
  public let record: JSON
  public let base: BaseIdentity
  /// In the order of their names.
  public let tensors: [DeltaTensor]
  /// `adapter_config.json` of an adapter; nil for changes of a model.
  public let adapterConfig: JSON?

  /// The metadata of a file with these changes.
  public static func metadata(
    made: JSON, base: BaseIdentity, baseName: String, fineTune: String, adapterConfig: JSON?, tensors: [DeltaTensor]
  ) -> [(String, String)] {
    var record: [(String, JSON)] = [
      ("version", .number(version)), ("kind", adapterConfig == nil ? "model" : "adapter"), ("made", made),
      ("base", .object([("name", .string(baseName))] + base.members)), ("fine_tune", .string(fineTune)),
    ]
    if let adapterConfig { record.append(("adapter_config", adapterConfig)) }
    record.append(("tensors", .object(tensors.map { ($0.name, $0.entry) })))
    return [(key, JSON.object(record).text())]
  }

  /// Whether a file says that it is a delta.
  public static func isDelta(_ path: String) -> Bool {
    guard WeightFile.isThere(path), let file = try? WeightFile.open(path),
      let header = try? SafetensorsHeader(reading: file)
    else { return false }
    return header.isDelta
  }

  /// Reads the header and checks that everything is there and fits; the bytes of the changes are checked when they are
  /// read.
  ///
  /// - Throws: `delta.format`; what reading safetensors files throws.
  public init(at path: String) throws(Problem) {
    self.path = path
    do throws(Problem) {
      let header = try SafetensorsHeader(reading: try WeightFile.open(path))
      guard let text = header.metadata.first(where: { ExactString($0.key) == ExactString(Self.key) })?.value else {
        throw Problem(
          .deltaFormat, "the file is no delta: its metadata lack \(Self.key)",
          remedy: "`espalier delta make` writes deltas.")
      }
      do throws(Problem) { record = try JSON(parsing: Array(text.utf8)) } catch {
        throw Problem(.deltaFormat, "the metadata entry \(Self.key) is \(error.message)")
      }
      guard record["version"]?.integer == Self.version else {
        throw Problem(
          .deltaFormat, "a delta of version \(record["version"]?.text() ?? "(none)"); \(Self.version) is known",
          remedy: "A newer Espalier wrote this file.")
      }
      base = try BaseIdentity(record["base"])
      switch record["kind"]?.string {
      case "model": adapterConfig = nil
      case "adapter":
        guard let config = record["adapter_config"], config.members != nil else {
          throw Problem(.deltaFormat, "the delta of an adapter lacks the adapter's configuration")
        }
        adapterConfig = config
      default: throw Problem(.deltaFormat, "the kind \(record["kind"]?.text() ?? "(none)") is not known")
      }
      guard let entries = record["tensors"]?.members else { throw Problem(.deltaFormat, "the delta lists no tensors") }
      var parts: [ExactString: StoredTensor] = [:]
      for tensor in header.tensors { parts[ExactString(tensor.name)] = tensor }
      var tensors: [DeltaTensor] = []
      for (name, entry) in entries.pairs { tensors.append(try DeltaTensor(name, entry, taking: &parts)) }
      if let stranger = parts.keys.map(\.text).min(by: SafetensorsCheckpoint.precedes) {
        throw Problem(.deltaFormat, "the tensor belongs to no change", tensor: stranger)
      }
      self.tensors = tensors.sorted { SafetensorsCheckpoint.precedes($0.name, $1.name) }
    } catch { throw error.at(file: path) }
  }

  /// Makes sure that a model is the base that the changes are of, by samples of its values.
  ///
  /// - Throws: `delta.base`.
  public func require(_ checkpoint: any Checkpoint) throws(Problem) {
    guard try BaseIdentity.sample(of: checkpoint) == base.sample else {
      throw Problem(
        .deltaBase, "the delta was made of another base: \(record["base"]?["name"]?.string ?? "(unnamed)")",
        remedy: "\(checkpoint.location) has other names, shapes or values than that base had.", file: path)
    }
  }
}

extension SafetensorsHeader {
  /// Whether the file says that it is a delta.
  var isDelta: Bool { metadata.contains { ExactString($0.key) == ExactString(DeltaFile.key) } }
}
