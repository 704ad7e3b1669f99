public import EspalierBasics

/// The file or files of one GGUF model, in order, with their headers read.
///
/// A model may be split (`NAME-00001-of-00003.gguf`): the first file then holds the metadata, and any of them stands
/// for all.
public struct GGUFFiles: Sendable {
  /// Paths, in the order of the parts.
  public let paths: [String]
  public let headers: [GGUFHeader]

  init(paths: [String], headers: [GGUFHeader]) {
    self.paths = paths
    self.headers = headers
  }

  /// Metadata of the whole model.
  public var metadata: GGUFMetadata { headers.first?.metadata ?? GGUFMetadata() }

  /// Whether `path` is a GGUF file by its name, or a folder whose weights are GGUF files.
  public static func isModel(_ path: String) -> Bool {
    switch FileSystem.kind(path) {
    case _ where WeightFile.isThere(path): return WeightFile.name(path).lowercased().hasSuffix(".gguf")
    case .folder:
      let names = (try? WeightFile.list(path)) ?? []
      return names.contains { $0.hasSuffix(".gguf") } && !names.contains { $0.hasSuffix(".safetensors") }
    default: return false
    }
  }

  /// - Parameter path: a GGUF file, any part of a split model, or a folder with one model.
  /// - Throws: every problem found, not only the first.
  public init(at path: String) throws(Problems) {
    var problems = Problems()
    var file = WeightFile.name(path)
    if FileSystem.isFolder(path) {
      guard let found = problems.collect({ () throws(Problem) in try Self.onlyModel(in: path) }) else { throw problems }
      file = found
    }
    paths = Self.parts(of: file)
    var headers: [GGUFHeader] = []
    for path in paths {
      guard paths.count == 1 || WeightFile.isThere(path) else {
        problems.add(
          Problem(
            .fileMissing, "a part of the model is not there: it has \(paths.count)",
            remedy: "Put all parts into one folder, under the names they had.", file: path))
        continue
      }
      if let header = problems.collect({ () throws(Problem) in try GGUFHeader(reading: try WeightFile.open(path)) }) {
        headers.append(header)
      }
    }
    self.headers = headers
    guard problems.all.isEmpty else { throw problems }
    checkSplit(problems: &problems)
    guard problems.all.isEmpty else { throw problems }
  }

  private static func onlyModel(in folder: String) throws(Problem) -> String {
    let names = try WeightFile.list(folder).filter { $0.hasSuffix(".gguf") }
    let models = names.filter { (part(of: $0)?.number ?? 1) == 1 }
    guard models.count == 1 else {
      let list = models.prefix(4).joined(separator: ", ") + (models.count > 4 ? ", ..." : "")
      throw Problem(
        .checkpointFormat,
        models.isEmpty ? "the folder has no GGUF model" : "the folder has several GGUF models: \(list)",
        remedy: models.isEmpty ? nil : "Name the file that is meant.", file: folder)
    }
    return "\(folder)/\(models[0])"
  }

  /// The beginning, number and count in the name of a part: `NAME-00002-of-00003.gguf`.
  public static func part(of name: String) -> (beginning: Substring, number: Int, count: Int)? {
    let ending = ".gguf"
    let digits = 5
    let length = digits * 2 + 5  // -00002-of-00003
    guard name.hasSuffix(ending), name.utf8.count > length + ending.utf8.count, name.utf8.allSatisfy({ $0 < 0x80 })
    else { return nil }
    let stem = name.dropLast(ending.count)
    let tail = stem.suffix(length)
    let numbers = tail.split(separator: "-", omittingEmptySubsequences: false)
    guard numbers.count == 4, numbers[0].isEmpty, numbers[2] == "of", numbers[1].count == digits,
      numbers[3].count == digits, let number = Int(numbers[1]), let count = Int(numbers[3]), number >= 1,
      count >= number
    else { return nil }
    return (stem.dropLast(length), number, count)
  }

  private static func parts(of path: String) -> [String] {
    guard let part = part(of: FileSystem.lastComponent(of: path)), part.count > 1 else { return [path] }
    let folder = FileSystem.parent(of: path)
    func padded(_ number: Int) -> String { String(repeating: "0", count: max(0, 5 - "\(number)".count)) + "\(number)" }
    return (1...part.count).map {
      FileSystem.join(folder, "\(part.beginning)-\(padded($0))-of-\(padded(part.count)).gguf")
    }
  }

  /// Holds what the files say of their place against where they are.
  private func checkSplit(problems: inout Problems) {
    for (index, header) in headers.enumerated() {
      let metadata = header.metadata
      let count = metadata.integer("split.count") ?? 1
      if count != headers.count, !(count == 0 && headers.count == 1) {
        problems.add(
          Problem(
            .ggufSplit, "the file says it is one of \(count), its name that it is one of \(headers.count)",
            remedy: "Restore the names NAME-00001-of-0000N.gguf.", file: header.file))
      } else if headers.count > 1, metadata.integer("split.no") != index {
        problems.add(
          Problem(
            .ggufSplit,
            "the file says it is part \(metadata.integer("split.no").map { "\($0)" } ?? "unknown") "
              + "(from 0), its name that it is part \(index)", file: header.file))
      }
    }
    var seen: [ExactString: String] = [:]
    for header in headers {
      for tensor in header.tensors {
        guard let other = seen.updateValue(header.file, forKey: ExactString(tensor.name)) else { continue }
        problems.add(
          Problem(
            .ggufSplit, "the tensor is stored twice: also in \(FileSystem.lastComponent(of: other))",
            file: header.file, tensor: tensor.name))
      }
    }
    let stored = headers.reduce(0) { $0 + $1.tensors.count }
    if headers.count > 1, let expected = metadata.integer("split.tensors.count"), expected != stored {
      problems.add(
        Problem(
          .ggufSplit, "the parts have \(stored) tensors together; \(expected) were expected",
          remedy: "A part is missing or of another model.", file: paths[0]))
    }
  }

  /// All tensors as they are stored.
  ///
  /// - Throws: `gguf.type` for every type that this version cannot read.
  public func storedTensors() throws(Problems) -> [StoredTensor] {
    var problems = Problems()
    var stored: [StoredTensor] = []
    var refused: [String: (count: Int, first: GGUFTensor, file: String)] = [:]
    for header in headers {
      for tensor in header.tensors {
        guard let known = StoredTensor(tensor, file: header.file) else {
          refused[tensor.type.name, default: (0, tensor, header.file)].count += 1
          continue
        }
        stored.append(known)
      }
    }
    for (type, found) in refused.sorted(by: { $0.key < $1.key }) {
      problems.add(
        Problem(
          .ggufType, "the type \(type) (of \(found.count) tensor\(found.count == 1 ? "" : "s")) is not supported",
          remedy: "Supported: \(GGUFTensorType.all.filter { $0.format != nil }.map(\.name).joined(separator: ", ")).",
          file: found.file, tensor: found.first.name))
    }
    guard problems.all.isEmpty else { throw problems }
    return stored
  }
}

extension StoredTensor {
  /// A tensor of a GGUF file; nil if its type cannot be read.
  public init?(_ tensor: GGUFTensor, file: String) {
    guard let format = tensor.type.format else { return nil }
    self.init(
      name: tensor.name, format: format, shape: tensor.shape, file: file, offset: tensor.offset,
      byteCount: tensor.byteCount)
  }
}
