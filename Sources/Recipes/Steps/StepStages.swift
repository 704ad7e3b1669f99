internal import EspalierBasics
internal import EspalierExecution

/// What became of a step.
struct StepRecord: Sendable {
  /// All that its result depends on.
  var fingerprint: JSON
  /// The step's own report: for programs, for people, and for `REPORT.md`.
  var report: JSON
  var text: String
  var markdown: String
  var seconds: Double

  var json: JSON {
    [
      "fingerprint": fingerprint, "report": report, "text": .string(text), "markdown": .string(markdown),
      "seconds": .number(seconds),
    ]
  }

  init(fingerprint: JSON, report: JSON, text: String, markdown: String, seconds: Double) {
    self.fingerprint = fingerprint
    self.report = report
    self.text = text
    self.markdown = markdown
    self.seconds = seconds
  }

  init?(_ json: JSON) {
    guard let fingerprint = json["fingerprint"], let report = json["report"], let text = json["text"]?.string,
      let markdown = json["markdown"]?.string, let seconds = json["seconds"]?.number
    else { return nil }
    self.init(fingerprint: fingerprint, report: report, text: text, markdown: markdown, seconds: seconds)
  }

  /// Names of what is not as it was.
  func changes(from fingerprint: JSON) -> [String] {
    let (old, new) = (self.fingerprint.members, fingerprint.members)
    let names = Array(new?.keys ?? []) + (old?.keys ?? []).filter { fingerprint[$0] == nil }
    return names.filter { self.fingerprint[$0] != fingerprint[$0] }
  }
}

/// `OUT.stages`: the models of steps until the last is done, a record of each that is, and a mark that tells the folder
/// to be of steps. One run at a time has it.
///
/// A record is written when the model of its step is whole under its name; a model without one is made again.
struct StepStages {
  let folder: String
  private let output: String
  private let mark: File

  private static let markName = "steps.json"
  private static let placedName = "placed.json"

  static func folder(beside output: String) -> String { output + ".stages" }

  /// What stands in the way of beginning, found without touching anything.
  static func obstacles(beside output: String, policy: OutputFolder.Policy) -> [Problem] {
    let folder = folder(beside: output)
    if policy.resume, isPlaced(folder, output) { return [] }
    var problems = OutputFolder.obstacles(at: output, policy: policy, bytes: 0)
    guard FileSystem.kind(folder) != nil else { return problems }
    if !isOurs(folder) {
      problems.append(
        Problem(
          .outputPartial, "there is something that is not of a run of steps, where their models are kept",
          remedy: "Choose another name for the output, or remove it yourself.", file: folder))
    } else if !policy.resume, !policy.force {
      problems.append(
        Problem(
          .outputPartial, "the stages of an earlier, unfinished run are there",
          remedy: "Continue it with --resume, or start over with --force.", file: folder))
    }
    return problems
  }

  private static func isOurs(_ folder: String) -> Bool {
    FileSystem.isFolder(folder)
      && (FileSystem.isFile("\(folder)/\(markName)") || (try? FileSystem.list(folder).isEmpty) == true)
  }

  /// Takes the folder for this run; without `resume` it is emptied.
  ///
  /// - Throws: ``obstacles(beside:policy:)``; `file.locked` if another run has it.
  init(beside output: String, policy: OutputFolder.Policy) throws(Problem) {
    if let problem = Self.obstacles(beside: output, policy: policy).first { throw problem }
    self.output = output
    folder = Self.folder(beside: output)
    if FileSystem.kind(folder) == nil {
      try FileSystem.createParents(of: folder)
      try FileSystem.createFolder(folder)
    }
    let path = "\(folder)/\(Self.markName)"
    if !FileSystem.isFile(path) {
      let mark: JSON = ["espalier_steps": 1]
      try FileSystem.write(mark.bytes(), to: path)
    }
    mark = try File.writing(path)
    guard mark.tryLock() else {
      throw Problem(
        .fileLocked, "another run is writing this output", remedy: "Wait for it, or choose another output.",
        file: folder)
    }
    if !policy.resume { try empty() }
  }

  /// What tells the folder to be ours, and that its output is there, goes last or stays, so that an interrupted removal
  /// can be continued.
  private func empty() throws(Problem) {
    let last = [Self.placedName, Self.markName]
    for name in try FileSystem.list(folder) where !last.contains(name) { try FileSystem.remove("\(folder)/\(name)") }
    let placed = "\(folder)/\(Self.placedName)"
    if FileSystem.isFile(placed) { try FileSystem.remove(placed) }
  }

  func remove() throws(Problem) {
    try empty()
    try FileSystem.remove(folder)
  }

  // MARK: - Records

  func path(_ name: String) -> String { "\(folder)/\(name)" }

  /// What an earlier run noted of a step; nil if it did not finish it.
  func record(_ name: String) throws(Problem) -> StepRecord? {
    let path = path(name) + ".json"
    guard FileSystem.isFile(path) else { return nil }
    guard let json = try? JSON(parsing: try FileSystem.read(path)), let record = StepRecord(json) else {
      throw Problem(
        .journalDamaged, "the record of the step is not what was written", remedy: "Start over with --force.",
        file: path)
    }
    return record
  }

  func write(_ record: StepRecord, _ name: String) throws(Problem) {
    try FileSystem.write(record.json.bytes(pretty: true), to: path(name) + ".json")
    try FileSystem.syncFolder(folder)
  }

  // MARK: - The end

  /// Gives the last model the output's name.
  ///
  /// - Parameters:
  ///   - run: tells this run's output from any other; it is in the output's `report.json`.
  ///   - files: go into the folder before.
  func place(_ name: String, run: String, adding files: [(name: String, bytes: [UInt8])]) throws(Problem) {
    let stage = path(name)
    for (name, bytes) in files { try FileSystem.write(bytes, to: "\(stage)/\(name)") }
    try FileSystem.syncFolder(stage)
    // After the exchange of folders the stage has the old output, which must not be taken for the new one.
    let announcement: JSON = ["run": .string(run)]
    try FileSystem.write(announcement.bytes(), to: path(Self.placedName))
    try OutputFolder.place(stage, at: output)
  }

  /// Whether an earlier run was ended after its output had got its name.
  var isPlaced: Bool { Self.isPlaced(folder, output) }

  private static func isPlaced(_ folder: String, _ output: String) -> Bool {
    func run(_ path: String) -> JSON? {
      (try? FileSystem.read(path)).flatMap { try? JSON(parsing: $0) }.flatMap { $0["run"] }
    }
    guard let announced = run("\(folder)/\(placedName)") else { return false }
    return run("\(output)/report.json") == announced
  }
}
