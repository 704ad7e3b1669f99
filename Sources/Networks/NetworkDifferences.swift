internal import EspalierArchitectures
internal import EspalierBasics

extension Network {
  /// In what two networks of one family compute differently, whatever numbers their parameters hold: what their configs
  /// say of epsilons, activations, heads, rotary angles. Each difference once, however many layers have it.
  public func differences(from other: Network) -> [String] {
    let (mine, theirs) = (program.sections.flatMap(\.statements), other.program.sections.flatMap(\.statements))
    var found: [String] = []
    func add(_ text: String) { if !found.contains(text) { found.append(text) } }
    // What follows another number of operations does not belong together.
    guard mine.count == theirs.count else {
      return ["\(mine.count) operations in the one, \(theirs.count) in the other"]
    }
    for (one, two) in zip(mine, theirs) {
      guard one.operation == two.operation, one.inputs == two.inputs, one.outputs == two.outputs else {
        add("`\(one.source)` in the one, `\(two.source)` in the other")
        continue
      }
      for label in Set(one.settings.keys).union(two.settings.keys).sorted()
      where one.settings[label] != two.settings[label] {
        let values = [one.settings[label], two.settings[label]].map { $0?.text ?? "not said" }
        add("`\(label)` of `\(one.operation)` is \(values[0]) in the one, \(values[1]) in the other")
      }
      let limits = [one.config[Self.stepLimits] ?? .null, two.config[Self.stepLimits] ?? .null]
      if limits[0] != limits[1] {
        add("`\(Self.stepLimits)` is \(limits[0].text()) in the one, \(limits[1].text()) in the other")
      }
    }
    if plan.frequencies != other.plan.frequencies {
      let bases = [plan, other.plan].map { $0.frequencies.map { "\($0.theta)" }.joined(separator: ", ") }
      add("the angles of rotary positions differ (bases \(bases[0]) in the one, \(bases[1]) in the other)")
    }
    if program.positionsSkip != other.program.positionsSkip { add("positions are counted differently") }
    return found
  }

  /// The one key that an operation reads from the config itself, beside those of rotary angles.
  private static let stepLimits = "time_step_limit"
}

extension Statement.Setting {
  fileprivate var text: String {
    switch self {
    case .truth(let truth): "\(truth)"
    case .integer(let number): "\(number)"
    case .number(let number): "\(number)"
    case .text(let text): text
    case .list(let settings): "[\(settings.map(\.text).joined(separator: ", "))]"
    case .absent: "not said"
    }
  }
}
