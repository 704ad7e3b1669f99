public import EspalierBasics

/// What the steps of a recipe did, for people and programs.
public struct StepsReport: Sendable {
  struct Entry: Sendable {
    var verb: String
    var line: Int
    var record: StepRecord
    /// Whether an earlier run had done it.
    var isKept: Bool
    /// Whether its gates held.
    var passes = true

    init(_ step: StepsRecipe.Step, _ record: StepRecord, isKept: Bool = false) {
      (verb, line) = (step.verb, step.line)
      self.record = record
      self.isKept = isKept
    }
  }

  let output: String
  let recipe: String
  var entries: [Entry] = []
  /// Of this run: steps that an earlier one did take none.
  var seconds = 0.0

  init(_ plan: StepsPlan) {
    (output, recipe) = (plan.planner.options.output, plan.source)
  }

  /// Whether every gate held. If one did not, there is no output.
  public var passes: Bool { entries.allSatisfy(\.passes) }

  /// Tells this output from any other.
  var run: String {
    Digest(of: entries.map { $0.record.json.text() }.joined(separator: "\n")).description
  }

  public var json: JSON {
    .object([
      ("espalier_steps", 1), ("output", .string(output)), ("run", .string(run)), ("recipe", .string(recipe)),
      ("passes", .bool(passes)),
      (
        "steps",
        .array(
          entries.enumerated().map { index, entry in
            [
              "step": .number(index + 1), "verb": .string(entry.verb), "recipe_line": .number(entry.line),
              "kept": .bool(entry.isKept), "passes": .bool(entry.passes), "seconds": .number(entry.record.seconds),
              "report": entry.record.report,
            ]
          })
      ),
      ("seconds", .number(seconds)), ("peak_bytes", Machine.peakResidentBytes.map { .number($0) } ?? .null),
    ])
  }

  public var text: String {
    var sections = entries.enumerated().map { index, entry in
      let kept = entry.isKept ? ", done by the earlier run" : ""
      return "step \(index + 1), \(entry.verb), \(Decimals.text(entry.record.seconds, 1)) s\(kept)\n"
        + Self.trimmed(entry.record.text)
    }
    sections.append(
      passes
        ? "\(output): \(entries.count) step\(entries.count == 1 ? "" : "s"), \(Decimals.text(seconds, 1)) s"
        : "A gate does not hold, so there is no output. What was made is in \(StepStages.folder(beside: output)); "
          + "loosen the gate and continue with --resume, or start over with --force.")
    return sections.joined(separator: "\n\n")
  }

  /// `REPORT.md`: the report of every step under a heading of its own.
  public var markdown: String {
    var text = "# What the steps made\n\n| step | what | recipe line | seconds |\n|---:|---|---:|---:|\n"
    for (index, entry) in entries.enumerated() {
      text += "| \(index + 1) | \(entry.verb) | \(entry.line) | \(Decimals.text(entry.record.seconds, 1)) |\n"
    }
    for (index, entry) in entries.enumerated() {
      text += "\n## Step \(index + 1): \(entry.verb)\n\n\(Self.lowered(entry.record.markdown))"
    }
    return text + "\n## The recipe\n\n```yaml\n\(recipe)\(recipe.hasSuffix("\n") ? "" : "\n")```\n"
  }

  /// A document as a part of another: its headings are two levels lower.
  private static func lowered(_ document: String) -> String {
    var isCode = false
    let lines = document.split(separator: "\n", omittingEmptySubsequences: false).map { line in
      if line.hasPrefix("```") { isCode.toggle() }
      return line.hasPrefix("#") && !isCode ? "##" + line : line
    }
    return lines.joined(separator: "\n")
  }

  private static func trimmed(_ text: String) -> String {
    var text = text[...]
    while text.hasSuffix("\n") { text.removeLast() }
    return String(text)
  }
}
