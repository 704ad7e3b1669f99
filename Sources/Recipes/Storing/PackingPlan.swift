public import EspalierBasics
internal import EspalierCheckpoints
public import EspalierExecution

/// What packing takes beside the model.
public struct PackingOptions: Sendable {
  /// A folder for a folder, a file `NAME.packed` for a file.
  public var output: String
  /// A folder or a file that tensors are coded against.
  public var base: String?
  public var chunkBytes: Int
  public var threads: Int
  public var memory: Int
  public var policy = OutputFolder.Policy()
  /// Whether the packed model takes the place of the model.
  public var replaces = false
  /// Whether SHA-256 of every file is kept.
  public var hashes = false
  /// Whether numbers may be rounded, and how much; nil: not at all.
  public var lossy: LossyOptions?

  public init(output: String, chunkBytes: Int, threads: Int, memory: Int) {
    (self.output, self.chunkBytes, self.threads, self.memory) = (output, chunkBytes, threads, memory)
  }
}

/// What packing a model will do: files of weights are packed, all others are copied.
public struct PackingPlan: Sendable {
  /// A file by its path from the model's folder.
  struct Entry: Sendable {
    var name: String
    var path: String
    var byteCount: Int
    /// Nil for a file that is copied.
    var header: ArchiveHeader?
    /// Of the base's files, those that the header names.
    var baseFiles: [Int] = []
  }

  public let model: String
  public let options: PackingOptions
  let entries: [Entry]
  let isFolder: Bool
  /// Files of the base, by the places that headers give them.
  let basePaths: [String]

  /// What reading the base takes, if it is packed itself.
  let baseReadingBytes: Int

  /// What is rounded before it is packed.
  let lossyTensors: [LossyTensor]

  /// What writing or reading back takes, and what reading a packed base does.
  var memory: Int {
    baseReadingBytes
      + max(
        ArchiveWriter.workingBytes(chunkBytes: options.chunkBytes, threads: options.threads),
        options.lossy == nil ? 0 : LossyRounding.workingBytes(lossyTensors, threads: options.threads))
  }
  public var byteCount: Int { entries.reduce(0) { $0 + $1.byteCount } }
  var packed: [Entry] { entries.filter { $0.header != nil } }

  /// - Throws: every problem that headers tell.
  public init(of model: String, _ options: PackingOptions) throws(Problems) {
    var problems = Problems()
    let isFolder = FileSystem.isFolder(model)
    let options = Self.named(options, isFolder)
    (self.model, self.isFolder, self.options) = (model, isFolder, options)
    var basePaths: [String] = []
    var baseReadingBytes = 0
    var base: [(path: String, file: any ByteSource)] = []
    if let folder = options.base {
      problems.collect { () throws(Problem) in
        basePaths = try Self.weights(of: folder)
        baseReadingBytes = try WeightFile.readingBytes(
          of: basePaths, threads: ArchiveWriter.chunksInFlight(of: options.chunkBytes, threads: options.threads))
        for path in basePaths {
          base.append(
            (Self.relative(path, from: FileSystem.parent(of: options.output)), try WeightFile.bytes(of: path)))
        }
      }
    }
    var entries: [Entry] = []
    problems.collect { () throws(Problem) in
      for (name, path) in try Self.files(of: model) {
        guard !Self.isPacked(name), name != PackedList.fileName else {
          throw Problem(.archiveFormat, "this is packed already", remedy: "Unpack it to pack it otherwise.", file: path)
        }
        do throws(Problem) {
          let file = try File.reading(path)
          var entry = Entry(name: name, path: path, byteCount: try file.size())
          if Self.isOfWeights(name) {
            var header = try ArchiveHeader(describing: file, chunkBytes: options.chunkBytes)
            // From the packed file's own folder.
            let up = isFolder ? String(repeating: "../", count: name.split(separator: "/").count) : ""
            entry.baseFiles = try header.align(with: base.map { (up + $0.path, $0.file) })
            if options.hashes { header.sha256 = String(repeating: "0", count: 64) }
            entry.header = header
          }
          entries.append(entry)
        } catch { throw error.at(file: path) }
      }
    }
    if problems.errors.isEmpty {
      if !entries.contains(where: { $0.header != nil }) {
        problems.add(
          Problem(
            .checkpointMissing, "there is no file of weights",
            remedy: "Give a safetensors or GGUF file, or a folder with one.",
            file: model))
      }
      if !base.isEmpty, !entries.contains(where: { !($0.header?.base.isEmpty ?? true) }) {
        problems.add(
          Problem(
            .archiveBase, "no tensor of the model has the name, type and shape of one of the base",
            remedy: "Give the model that it was tuned from, or pack it without --base.", file: options.base))
      }
    }
    var lossyTensors: [LossyTensor] = []
    if let lossy = options.lossy, problems.errors.isEmpty {
      problems.collect { () throws(Problem) in
        lossyTensors = try Self.lossyTensors(of: entries, options, lossy, model: model)
      }
    }
    self.lossyTensors = lossyTensors
    self.entries = entries
    self.basePaths = basePaths
    self.baseReadingBytes = baseReadingBytes
    if !isFolder, Self.isOfWeights(model), !Self.isPacked(options.output) {
      problems.add(
        Problem(
          .archiveFormat, "the name of the packed file does not tell what it is packed of",
          remedy: "Let it end with .safetensors.packed or .gguf.packed.", file: options.output))
    }
    problems.collect { () throws(Problem) in
      try Self.requireApart(basePaths, from: options.output, isFolder: isFolder)
    }
    problems.all += Self.place(options, isFolder: isFolder).obstacles(
      bytes: entries.reduce(0) { $0 + $1.byteCount } * (options.lossy == nil ? 1 : 2),
      mayReplace: options.replaces && isFolder)
    let least = memory
    if least > options.memory {
      problems.add(
        Problem(
          .memoryCeiling,
          "packing takes \(ByteCount.text(least)), above the ceiling of \(ByteCount.text(options.memory))",
          remedy: "Raise --memory, or take fewer --threads or smaller --chunk."))
    }
    guard problems.errors.isEmpty else { throw problems }
  }

  private static func lossyTensors(
    of entries: [Entry], _ options: PackingOptions, _ lossy: LossyOptions, model: String
  ) throws(Problem) -> [LossyTensor] {
    var tensors: [LossyTensor] = []
    let workers = WorkerPool(threads: options.threads)
    defer { workers.stop() }
    for (index, entry) in entries.enumerated() {
      guard let header = entry.header else { continue }
      guard entry.name.lowercased().hasSuffix(".safetensors") else {
        throw Problem(
          .packingGoal, "only safetensors files are rounded; a GGUF file has types of its own",
          remedy: "Use `espalier requantize`, or leave --lossy out.", file: entry.path)
      }
      let file = try File.reading(entry.path)
      do throws(Problem) {
        tensors += try LossyTensor.all(
          of: index, try header.markingRepeats(in: file, workers: workers), in: file, lossy)
      } catch { throw error.at(file: entry.path) }
    }
    guard !tensors.isEmpty else {
      throw Problem(
        .packingGoal, "there is no matrix of floats that could be rounded",
        remedy: "Leave --lossy out: then nothing is lost.", file: model)
    }
    return tensors
  }

  var place: PackedPlace { Self.place(options, isFolder: isFolder) }

  private static func place(_ options: PackingOptions, isFolder: Bool) -> PackedPlace {
    PackedPlace(options.output, isFolder: isFolder, policy: options.policy) { path in
      isFolder ? PackedPlace.isReplaceable(path) : PackedPlace.isReplaceable(file: path)
    }
  }

  /// A packed file has its own ending.
  private static func named(_ options: PackingOptions, _ isFolder: Bool) -> PackingOptions {
    var options = options
    if !isFolder, !options.output.hasSuffix(WeightFile.packedSuffix) { options.output += WeightFile.packedSuffix }
    return options
  }

  /// Names of files whose numbers are coded.
  static func isOfWeights(_ name: String) -> Bool {
    [".safetensors", ".gguf"].contains { name.lowercased().hasSuffix($0) }
  }

  /// Names of what files of weights are packed to.
  static func isPacked(_ name: String) -> Bool {
    name.hasSuffix(WeightFile.packedSuffix) && isOfWeights(WeightFile.name(name))
  }

  /// Checks that the output takes the place of nothing that it is read with: bases, and what those were packed against.
  private static func requireApart(_ base: [String], from output: String, isFolder: Bool) throws(Problem) {
    let taken = WeightFile.location(isFolder ? output : WeightFile.name(output))
    for path in base {
      for needed in [WeightFile.location(path)] + (try WeightFile.bases(of: path)) {
        let isTaken =
          isFolder ? Array(needed.utf8).starts(with: (taken + "/").utf8) : ExactString(needed) == ExactString(taken)
        guard isTaken else { continue }
        throw Problem(
          .archiveBase, "the packed model would take the place of \(needed), without which it cannot be read",
          remedy: "Choose another output, or pack it without --base.", file: path)
      }
    }
  }

  /// All files of a model, those in folders of its folder too, in the order of names.
  ///
  /// - Throws: `pack.input` for links to folders, which may lead back to where they are.
  static func files(of model: String) throws(Problem) -> [(name: String, path: String)] {
    switch FileSystem.kind(model) {
    case .file: return [(FileSystem.lastComponent(of: model), model)]
    case .folder: return try files(in: model, as: "")
    default:
      throw Problem(
        .checkpointMissing, "there is no model at \(model)", remedy: "Give a folder or a file.", file: model)
    }
  }

  private static func files(in folder: String, as prefix: String) throws(Problem) -> [(name: String, path: String)] {
    var files: [(name: String, path: String)] = []
    for name in try FileSystem.list(folder) {
      let path = "\(folder)/\(name)"
      if FileSystem.isFolder(path) {
        guard FileSystem.linkTarget(path) == nil else {
          throw Problem(
            .packingInput, "\(prefix)\(name) is a link to a folder",
            remedy: "Copy the folder to its place: only links to files are followed.", file: path)
        }
        files += try self.files(in: path, as: prefix + name + "/")
      } else {
        files.append((prefix + name, path))
      }
    }
    return files
  }

  private static func weights(of base: String) throws(Problem) -> [String] {
    if WeightFile.isThere(base) { return [WeightFile.name(base)] }
    let found = try files(of: base).map { WeightFile.name($0.path) }.filter { isOfWeights($0) }
    guard !found.isEmpty else {
      throw Problem(.checkpointMissing, "the base has no file of weights", file: base)
    }
    return found
  }

  /// A path from a folder.
  private static func relative(_ path: String, from parent: String) -> String {
    let from = (FileSystem.resolved(parent) ?? WeightFile.location(parent)).split(separator: "/").map(String.init)
    let to = WeightFile.location(path).split(separator: "/").map(String.init)
    let common = zip(from, to).prefix { ExactString($0) == ExactString($1) }.count
    return (Array(repeating: "..", count: from.count - common) + to[common...]).joined(separator: "/")
  }
}

extension PackingPlan {
  /// One line before the work.
  public var summary: String {
    "pack\(options.lossy.map { " with loss, \($0.goal.text)" } ?? ""): \(packed.count) file\(packed.count == 1 ? "" : "s") of weights, "
      + "\(ByteCount.text(packed.reduce(0) { $0 + $1.byteCount })), \(options.threads) threads, at most "
      + "\(ByteCount.text(memory)) of \(ByteCount.text(options.memory)) memory"
  }

  public var text: String {
    let lines = entries.map { entry in
      let parts = entry.header.map { header in
        let aligned = header.parts.count { $0.base != nil }
        return
          (header.isOfBytes
          ? "packed as bytes, since its header is not understood" : "packed, \(header.parts.count) parts")
          + (aligned > 0 ? ", \(aligned) of them against the base" : "")
      }
      let rounded = lossyTensors.count { ExactString(entries[$0.entry].name) == ExactString(entry.name) }
      return "\(entry.name)  \(ByteCount.text(entry.byteCount))  \(parts ?? "copied")"
        + (rounded > 0 ? ", \(rounded) of them rounded" : "")
    }
    return (lines + [summary]).joined(separator: "\n")
  }

  public var json: JSON {
    [
      "event": "plan", "output": .string(options.output), "bytes": .number(byteCount),
      "planned_peak_bytes": .number(memory), "rounded_tensors": .number(lossyTensors.count),
      "goal_bytes": options.lossy.map { lossy in
        .number(lossy.goal.bytes(of: packed.reduce(0) { $0 + $1.byteCount }))
      } ?? .null,
      "files": .array(
        entries.map { entry in
          [
            "name": .string(entry.name), "bytes": .number(entry.byteCount), "packed": .bool(entry.header != nil),
            "parts": .number(entry.header?.parts.count ?? 0),
            "parts_with_base": .number(entry.header?.parts.count { $0.base != nil } ?? 0),
          ]
        }),
    ]
  }
}
