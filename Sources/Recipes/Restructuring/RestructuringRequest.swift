public import EspalierBasics
internal import EspalierCalibration
public import EspalierCheckpoints

/// What a change of structure is asked for.
public struct RestructuringRequest: Sendable {
  /// How many numbers are to be left.
  public enum Goal: Sendable, Hashable {
    /// Of those that the model has.
    case share(Double)
    case count(Int)

    /// `0.75`, `100M`, `1200000`; nil for anything else.
    public init?(_ text: String) {
      if let share = Double(text), share < 1 {
        guard share > 0 else { return nil }
        self = .share(share)
        return
      }
      let units: [(Character, Double)] = [("K", 1e3), ("M", 1e6), ("B", 1e9)]
      for (unit, factor) in units where text.last == unit {
        guard let number = Double(text.dropLast()), number > 0, number * factor < 1e15 else { return nil }
        self = .count(Int(number * factor))
        return
      }
      guard let count = Int(text), count > 1 else { return nil }
      self = .count(count)
    }
  }

  /// What is known of the inputs.
  public enum Source: Sendable {
    case nothing
    /// A file of `calibrate`.
    case statistics(String)
    /// Text, from which statistics are gathered, and on which the model runs.
    case text(CalibrationText)
  }

  public var method: String
  public var goal: Goal
  public var parameters: [String: ParameterValue] = [:]
  public var source: Source
  /// Windows of each text on which the model runs to tell what a change does, the first; nil: as many as there are to
  /// gather statistics from.
  public var effectLimit: Int?
  /// What is left of maps makes up for inputs that left them, with this damping; nil: it stays as it is.
  public var repair: Double?
  /// What the model was tuned from, with the name that the user gave it; nil if the method does not ask.
  public var base: (name: String, checkpoint: any Checkpoint)?

  /// Paired prompts, for methods that compare what the model makes of them.
  public var pairs: PromptPairs?

  public init(method: String, goal: Goal, source: Source) {
    (self.method, self.goal, self.source) = (method, goal, source)
  }

  /// The request in a line, which says everything that the result depends on but the model.
  public var text: String {
    let goal =
      switch goal {
      case .share(let share): "\(share) of the parameters"
      case .count(let count): "\(count) parameters"
      }
    let source =
      switch source {
      case .nothing: "no data"
      case .statistics(let path): "statistics \(FileSystem.lastComponent(of: path))"
      case .text(let text): "\(text.windows.cut), \(text.windows.tokenCount) tokens"
      }
    let base = base.map { ["tuned from \(FileSystem.lastComponent(of: $0.name))"] } ?? []
    let pairs = pairs.map { ["\($0.pairs.count) pairs of \($0.name) \($0.digest)"] } ?? []
    let settings = parameters.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
    let repair = repair.map { ["repaired with damp=\($0)"] } ?? []
    let effects = effectLimit.map { ["changes measured on \($0) windows of each text"] } ?? []
    return "restructure: "
      + ([method, goal] + settings + repair + base + pairs + effects + [source]).joined(separator: ", ")
  }
}
