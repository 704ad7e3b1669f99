import EspalierBasics

/// Ends a command: problems to show and the exit code they mean.
struct Failure: Error {
  var problems: [Problem]
  var code: Int32
  var json: Bool

  static let failed: Int32 = 1
  static let badUsage: Int32 = 2

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
      for problem in problems { Machine.writeToStandardError(problem.description + "\n") }
      let errors = problems.filter { $0.severity == .error }.count
      if errors > 1 { Machine.writeToStandardError("\(errors) errors\n") }
    }
  }
}

/// Runs `body` and turns what it finds wrong into the command's failure.
func reportingProblems(json: Bool, _ body: () throws(Problems) -> Void) throws {
  do throws(Problems) { try body() } catch { throw Failure(error.all, json: json) }
}
