internal import EspalierBasics

/// The trials of a search, one line of JSON each, after a line that says what they measure.
///
/// ```
/// {"search":1,"goal":"minimize","protocol":{...}}
/// {"trial":0,"recipe":"DIGEST","values":{"w":"0.2"},"score":12.5,"figures":{"code":11.25}}
/// ```
///
/// Scores belong to the digest of the recipe, so that lists of values may change between runs. A score that is not
/// finite is null. A last line without its newline is what a crash leaves; it is forgotten.
final class RecipeSearchLog {
  private let file: File
  private var offset = 0
  private var scores: [Digest: RecipeScore] = [:]

  /// - Throws: `recipe.search` if the file exists and is not to be resumed, belongs to another measurement, is damaged or
  ///   in use; what reading and writing throw.
  init(at path: String, header: JSON, resume: Bool) throws(Problem) {
    let exists = FileSystem.kind(path) != nil
    guard resume || !exists else {
      throw Problem(
        .recipeSearch, "the log of a search is there already",
        remedy: "Resume to go on with it, or name another file.", file: path)
    }
    file = try File.writing(path)
    guard file.tryLock() else {
      throw Problem(.recipeSearch, "another search is writing this log", file: path)
    }
    var header = header
    header["search"] = 1
    let lines = try read()
    guard let first = lines.first else {
      try append(header)
      return
    }
    guard first == header else {
      throw Problem(
        .recipeSearch, "the log is of another search: \(Self.difference(first, header))",
        remedy: "Name another file.", file: path)
    }
    for (index, line) in lines.enumerated().dropFirst() {
      guard let (digest, score) = Self.trial(line) else { throw damaged(line: index + 1) }
      if scores[digest] == nil { scores[digest] = score }
    }
  }

  func score(of recipe: Digest) -> RecipeScore? { scores[recipe] }

  /// Adds a trial; it is on the disk when this returns.
  func append(_ trial: RecipeTrial, variables: [String]) throws(Problem) {
    let values = zip(variables, trial.candidate.values).map { ($0, JSON.string($1)) }
    let figures = trial.score.figures.map { ($0.name, JSON.number($0.value)) }
    try append([
      "trial": .number(trial.number), "recipe": .string(trial.candidate.digest.description),
      "values": .object(values), "score": .number(trial.score.value), "figures": .object(figures),
    ])
    scores[trial.candidate.digest] = trial.score
  }

  private func append(_ json: JSON) throws(Problem) {
    let line = json.bytes() + [UInt8(ascii: "\n")]
    try file.write(line, at: offset)
    try file.sync()
    offset += line.count
  }

  /// The whole lines; what follows them is cut off.
  private func read() throws(Problem) -> [JSON] {
    var lines: [JSON] = []
    let size = try file.size()
    let bytes = try file.read(size, at: 0)
    for line in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).dropLast() {
      guard let json = try? JSON(parsing: line) else { throw damaged(line: lines.count + 1) }
      lines.append(json)
      offset += line.count + 1
    }
    if offset < size { try file.resize(to: offset) }
    return lines
  }

  private static func trial(_ json: JSON) -> (Digest, RecipeScore)? {
    guard let digest = json["recipe"]?.string.flatMap({ Digest($0) }), let score = json["score"],
      let figures = json["figures"]?.members
    else { return nil }
    func number(_ json: JSON) -> Double? { json.isNull ? .nan : json.number }
    guard let value = number(score) else { return nil }
    var result = RecipeScore(value)
    for (name, json) in figures.pairs {
      guard let value = number(json) else { return nil }
      result.figures.append(.init(name, value))
    }
    return (digest, result)
  }

  /// The first of the header's entries that is not the same.
  private static func difference(_ found: JSON, _ expected: JSON) -> String {
    for (key, value) in expected.members?.pairs ?? [] where found[key] != value {
      return "its \(key) is \(found[key]?.text() ?? "missing"), this one's is \(value.text())"
    }
    return "it says more than \(expected.text())"
  }

  private func damaged(line: Int) -> Problem {
    Problem(
      .recipeSearch, "line \(line) of the log is not what a search writes", remedy: "Name another file.",
      file: file.path)
  }
}
