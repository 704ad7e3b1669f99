import EspalierBasics

/// Ends a command: problems to show and the exit code they mean.
struct Failure: Error {
  var problems: [Problem]
  var code: Int32
  var json: Bool

  static let failed: Int32 = 1
  static let badUsage: Int32 = 2
  /// Problems that are shown to people; programs get all.
  private static let most = 20

  /// Problems of a recipe (they have its line), a parameter or an argument are bad usage; all else is a failure.
  init(_ problems: [Problem], json: Bool) {
    self.problems = problems
    self.json = json
    let usage = ["recipe.", "parameter.", "merge.inputs", "usage."]
    let errors = problems.filter { $0.severity == .error }
    let isUsage = errors.contains { problem in
      problem.context.recipeLine != nil || usage.contains { problem.code.rawValue.hasPrefix($0) }
    }
    code = isUsage ? Self.badUsage : Self.failed
  }

  func print() {
    if json {
      for problem in problems { Swift.print(JSONEvents.text(problem)) }
    } else {
      let errors = problems.filter { $0.severity == .error }
      let rest = problems.count - Self.most
      // What is left out of a long list should not be what ended the command.
      let shown = rest > 0 ? errors + problems.filter { $0.severity != .error } : problems
      for problem in shown.prefix(Self.most) { Machine.writeToStandardError(problem.description + "\n") }
      if rest > 0 { Machine.writeToStandardError("and \(rest) more\n") }
      if errors.count > 1 { Machine.writeToStandardError("\(errors.count) errors\n") }
    }
  }
}

/// Runs `body` and turns what it finds wrong into the command's failure.
func reportingProblems(json: Bool, _ body: () throws(Problems) -> Void) throws {
  do throws(Problems) { try body() } catch { throw Failure(error.all, json: json) }
}
