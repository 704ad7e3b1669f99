internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierLinearMaps
internal import EspalierNetworks
internal import EspalierNumerics
internal import EspalierReduction

/// Reduced parameters on their way to the output: a file each in `OUT.pieces`, complete or not there.
///
/// How large a sparse matrix becomes is known only when it is made, so the output is laid out when all are. An
/// interrupted run is continued from the files that are there; each holds the digest of its bytes.
struct ReductionPieces {
  /// A parameter in its new form, and what became of its matrices.
  struct Piece {
    let parameter: Parameter
    /// All that is stored of it: of some layouts more than what the parameter is read from.
    let tensors: [StoredTensor]
    let outcomes: [MatrixOutcome]
  }

  private let folder: String
  /// Held as long as the run lasts.
  private let lock: File

  private static let runFile = "run.json"
  private static let key = "espalier.piece"

  static func path(beside output: String) -> String { output + ".pieces" }

  /// What stands in the way of beginning.
  static func obstacles(beside output: String, policy: OutputFolder.Policy) -> [Problem] {
    let path = path(beside: output)
    guard FileSystem.kind(path) != nil else { return [] }
    guard isOurs(path) else {
      return [
        Problem(
          .outputPartial, "there is something that was not written by espalier, where the output is prepared",
          remedy: "Choose another name for the output, or remove it yourself.", file: path)
      ]
    }
    guard !policy.resume, !policy.force else { return [] }
    return [
      Problem(
        .outputPartial, "matrices of an earlier, unfinished run are there",
        remedy: "Continue it with --resume, or start over with --force.", file: path)
    ]
  }

  private static func isOurs(_ path: String) -> Bool {
    FileSystem.isFolder(path)
      && (FileSystem.isFile("\(path)/\(runFile)") || (try? FileSystem.list(path).isEmpty) == true)
  }

  /// - Parameter fingerprint: all that the pieces depend on.
  /// - Throws: `journal.mismatch` if what is there is of another run, as ``obstacles(beside:policy:)``.
  init(beside output: String, fingerprint: JSON, policy: OutputFolder.Policy) throws(Problem) {
    folder = Self.path(beside: output)
    if let problem = Self.obstacles(beside: output, policy: policy).first { throw problem }
    let run = "\(folder)/\(Self.runFile)"
    let exists = FileSystem.isFile(run)
    if FileSystem.kind(folder) == nil {
      try FileSystem.createParents(of: folder)
      try FileSystem.createFolder(folder)
    }
    lock = try Self.locked(run)
    guard exists, policy.resume, let found = try? JSON(parsing: try FileSystem.read(run)) else {
      try restart(fingerprint)
      return
    }
    let names = fingerprint.members?.keys ?? []
    let changed = names.filter { found[$0] != fingerprint[$0] }
    guard changed.isEmpty, found.members?.count == names.count else {
      throw Problem(
        .journalMismatch,
        "what is there belongs to another run; changed since: \(changed.joined(separator: ", "))",
        remedy: "Restore what changed, or start over with --force.", file: folder)
    }
  }

  private static func locked(_ path: String) throws(Problem) -> File {
    let file = try File.writing(path)
    guard file.tryLock() else {
      throw Problem(
        .fileLocked, "another run is writing this output", remedy: "Wait for it, or choose another output.",
        file: path)
    }
    return file
  }

  /// Forgets all pieces.
  private func restart(_ fingerprint: JSON) throws(Problem) {
    for name in try FileSystem.list(folder) where name != Self.runFile { try FileSystem.remove("\(folder)/\(name)") }
    let bytes = fingerprint.bytes(pretty: true)
    try lock.resize(to: 0)
    try lock.write(bytes, at: 0)
    try lock.sync()
  }

  /// Where something else that belongs to the run lies: it is removed with it.
  func path(of name: String) -> String { "\(folder)/\(name)" }

  private func file(_ index: Int) -> String {
    let digits = String(index)
    return "\(folder)/\(String(repeating: "0", count: max(0, 5 - digits.count)))\(digits).safetensors"
  }

  /// The piece of number `index`, if an earlier run finished it and its bytes are what it wrote.
  func finished(_ index: Int, of target: ReductionTarget) throws(Problem) -> Piece? {
    let piece = try finished(index, of: target.parameter, target.coding)
    guard let piece, !piece.outcomes.isEmpty,
      piece.outcomes.map({ ExactString($0.name) }) == target.matrices.map({ ExactString($0.name) })
    else { return nil }
    return piece
  }

  /// The same for a parameter with whatever matrices.
  func finished(
    _ index: Int, of wanted: Parameter, _ coding: ReductionTarget.Coding? = nil
  ) throws(Problem) -> Piece? {
    let path = file(index)
    guard FileSystem.isFile(path) else { return nil }
    guard let checkpoint = try? SafetensorsCheckpoint(at: path),
      let text = checkpoint.metadata.first(where: { $0.key == Self.key })?.value,
      let record = try? JSON(parsing: text),
      let outcomes = record["matrices"]?.array?.compactMap({ MatrixOutcome($0) }),
      let parameter = try? Self.parameter(of: checkpoint, like: wanted, coding),
      ExactString(parameter.name) == ExactString(wanted.name), parameter.shape == wanted.shape
    else { return nil }
    let tensors = checkpoint.parameters.flatMap(\.recipe.storedTensors)
    let file = try File.reading(path)
    let start = tensors.map(\.offset).min() ?? 0
    let bytes = tensors.reduce(0) { $0 + $1.byteCount }
    let digest = try file.digest(of: start..<start + bytes)
    return record["digest"]?.string == digest.description
      ? Piece(parameter: parameter, tensors: tensors, outcomes: outcomes) : nil
  }

  /// The parameter that a file holds.
  private static func parameter(
    of checkpoint: SafetensorsCheckpoint, like wanted: Parameter, _ coding: ReductionTarget.Coding?
  ) throws(Problem) -> Parameter {
    if let coding {
      return try coding.parameter(like: wanted, in: checkpoint.parameters.flatMap(\.recipe.storedTensors))
    }
    guard checkpoint.parameters.count == 1 else { throw Problem(.fileWrite, "the piece is not of one parameter") }
    return checkpoint.parameters[0]
  }

  /// Writes new values of a parameter, rounded once to its type.
  ///
  /// - Returns: the parameter that reads them.
  func keep(_ index: Int, _ parameter: Parameter, values: [Float]) throws(Problem) -> Parameter {
    guard values.count == parameter.elementCount else {
      throw Problem(
        .reduction, "\(values.count) values for the shape \(parameter.shape)", tensor: parameter.name)
    }
    let part = ReducedEncoding.Part(
      name: parameter.name, elementType: parameter.elementType, shape: parameter.shape,
      bytes: parameter.elementType.encoded(values))
    return try write(index, [part], outcomes: []).parameter
  }

  /// Writes a parameter whole, or leaves nothing.
  ///
  /// - Parameters:
  ///   - reduced: the form and the shape of a parameter that is stored in one; nil for a plain tensor.
  ///   - coded: the parameter that the parts are the codes of, and how; nil for one that is no codes.
  func write(
    _ index: Int, _ parts: [ReducedEncoding.Part],
    reduced: (name: String, form: ReducedStorage.Form, shape: [Int])? = nil,
    coded: (original: Parameter, coding: ReductionTarget.Coding)? = nil, outcomes: [MatrixOutcome]
  ) throws(Problem) -> Piece {
    let digest = ChunkedDigest(byteCount: parts.reduce(0) { $0 + $1.bytes.count })
    var feed = ChunkedDigest.Feed(into: digest, at: 0)
    for part in parts { part.bytes.withUnsafeBytes { feed.update($0) } }
    let record: JSON = [
      "digest": .string(digest.value().description), "matrices": .array(outcomes.map(\.json)),
    ]
    var metadata = [(Self.key, record.text())]
    if let entry = ReducedSection.entry(for: reduced.map { [$0] } ?? []) { metadata.append((entry.key, entry.value)) }
    let header = SafetensorsHeader.bytes(for: parts.map { ($0.name, $0.elementType, $0.shape) }, metadata: metadata)
    let path = file(index)
    let temporary = path + ".tmp"
    let output = try File.writing(temporary, truncate: true)
    try output.write(header, at: 0)
    var offset = header.count
    for part in parts {
      try output.write(part.bytes, at: offset)
      offset += part.bytes.count
    }
    try output.sync()
    try FileSystem.rename(temporary, to: path)
    let checkpoint: SafetensorsCheckpoint
    do throws(Problems) { checkpoint = try SafetensorsCheckpoint(at: path) } catch {
      throw error.all.first ?? Problem(.fileWrite, "the piece cannot be read again", file: path)
    }
    guard let first = checkpoint.parameters.first else {
      throw Problem(.fileWrite, "the piece has no parameter", file: path)
    }
    return Piece(
      parameter: try Self.parameter(of: checkpoint, like: coded?.original ?? first, coded?.coding),
      tensors: checkpoint.parameters.flatMap(\.recipe.storedTensors), outcomes: outcomes)
  }

  /// Writes a parameter with its matrices as they have become under a plan.
  func write(
    _ index: Int, _ target: ReductionTarget, _ results: [SiteReduction.Result], of plan: ReductionPlan
  ) throws(Problem) -> Piece {
    let outcomes = results.map(\.outcome)
    let weights = results.map(\.weight)
    if let coding = target.coding {
      let parts =
        switch coding {
        case .packed(let packing): try target.packed(weights, packing)
        case .blocks(let blocks): try target.encoded(weights, as: blocks)
        }
      return try write(index, parts, coded: (target.parameter, coding), outcomes: outcomes)
    }
    let encoding = try target.encoded(
      weights, storage: plan.request.storage,
      pattern: plan.request.budget(of: target.matrices[0].name)?.sparsePattern ?? .unstructured)
    return try write(index, encoding.parts, reduced: encoding.reduced, outcomes: outcomes)
  }

  func remove() throws(Problem) {
    // What tells the folder to be ours goes last, so that an interrupted removal can be continued.
    for name in try FileSystem.list(folder) where name != Self.runFile { try FileSystem.remove("\(folder)/\(name)") }
    try FileSystem.remove(folder)
  }
}
