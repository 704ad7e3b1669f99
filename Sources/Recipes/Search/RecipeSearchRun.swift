public import EspalierBasics

/// In which order candidates are tried.
public enum RecipeSearchStrategy: String, Sendable, CaseIterable {
  /// Every combination, the last variable changing fastest; if the budget is smaller than the grid, combinations spread
  /// over all of it.
  case grid
  /// From the first value of every variable, one variable after another is set to its best value while the others stay,
  /// in rounds, until a round changes nothing. It finds the best of the grid where variables do not interact.
  case coordinate
}

/// Which of two scores is better.
public enum RecipeSearchGoal: String, Sendable, CaseIterable {
  case minimize, maximize

  func isBetter(_ a: Double, than b: Double) -> Bool { self == .minimize ? a < b : a > b }
}

/// How a search is run.
public struct RecipeSearchOptions: Sendable {
  public var strategy = RecipeSearchStrategy.grid
  public var goal: RecipeSearchGoal
  /// Most trials, those taken from the log included.
  public var budget = 256
  /// A file that keeps every trial as a line of JSON; none unless given.
  public var log: String?
  /// Whether trials of an existing log are taken over; one that exists is an error otherwise.
  public var resume = false
  /// What scores depend on beside the recipe (models, texts, metric, seed ...): a log made with another is refused.
  public var protocolText: JSON = [:]

  public init(goal: RecipeSearchGoal) { self.goal = goal }
}

/// What the objective says of a candidate.
public struct RecipeScore: Sendable, Hashable {
  /// What is minimized or maximized. One that is not finite loses to every one that is.
  public var value: Double
  /// Further figures for the table, in their order.
  public var figures: [Figure]

  public struct Figure: Sendable, Hashable {
    public var name: String
    public var value: Double

    public init(_ name: String, _ value: Double) {
      self.name = name
      self.value = value
    }
  }

  public init(_ value: Double, figures: [Figure] = []) {
    self.value = value
    self.figures = figures
  }
}

/// A candidate with its score.
public struct RecipeTrial: Sendable {
  /// From 0, in the order of trying.
  public var number: Int
  public var candidate: RecipeSearch.Candidate
  public var score: RecipeScore
  /// Whether the score is from the log of an earlier run.
  public var isKnown: Bool
}

/// What a search found.
public struct RecipeSearchReport: Sendable {
  public var variables: [String]
  public var trials: [RecipeTrial]
  /// Index of the best trial, the earliest of equals; nil if no score was finite.
  public var best: Int?
  /// Whether the strategy came to its end within the budget.
  public var isComplete: Bool

  public var bestTrial: RecipeTrial? { best.map { trials[$0] } }
}

extension RecipeSearch {
  /// The most combinations that ``RecipeSearchStrategy/grid`` takes on.
  static let mostCombinations = 1_000_000

  /// Tries candidates in a fixed order and notes their scores.
  ///
  /// The order, and so the result, depends on the recipe, the options and the scores alone; with a log, a search that
  /// was stopped goes on where it was and ends as if it had not been.
  ///
  /// - Parameters:
  ///   - objective: the score of a candidate; merging and measuring are its business. What it throws ends the search.
  ///   - progress: is told of every trial.
  /// - Throws: `recipe.search` if the grid is too large or the log is not this search's; what the objective throws.
  public func run(
    _ options: RecipeSearchOptions, objective: (Candidate) throws(Problem) -> RecipeScore,
    progress: (RecipeTrial) -> Void = { _ in }
  ) throws(Problem) -> RecipeSearchReport {
    var state = try State(search: self, options: options)
    let ended =
      switch options.strategy {
      case .grid: try runGrid(&state, objective, progress)
      case .coordinate: try runCoordinates(&state, objective, progress)
      }
    return RecipeSearchReport(
      variables: variables.map(\.name), trials: state.trials, best: state.best, isComplete: ended)
  }

  // MARK: - Strategies; both return whether they came to their end

  private func runGrid(
    _ state: inout State, _ objective: (Candidate) throws(Problem) -> RecipeScore, _ progress: (RecipeTrial) -> Void
  ) throws(Problem) -> Bool {
    guard let count, count <= Self.mostCombinations else {
      throw Problem(
        .recipeSearch, "the grid has more than \(Self.mostCombinations) combinations",
        remedy: "Search fewer values, or by coordinates.")
    }
    let step = state.budget < count ? Self.spreadingStep(count) : 1
    for position in 0..<count {
      guard try state.score(choice(position * step % count), objective, progress) != nil else { return false }
    }
    return true
  }

  /// About count divided by the golden ratio, without a common divisor with it: its multiples visit everything once, and
  /// the first of them lie far apart.
  private static func spreadingStep(_ count: Int) -> Int {
    func divisor(_ a: Int, _ b: Int) -> Int { b == 0 ? a : divisor(b, a % b) }
    var step = max(1, Int(Double(count) * 0.6180339887498949))
    while divisor(count, step) != 1 { step += 1 }
    return step
  }

  /// The combination of this number, the last variable changing fastest.
  private func choice(_ number: Int) -> [Int] {
    var rest = number
    var choice: [Int] = []
    for variable in variables.reversed() {
      choice.append(rest % variable.values.count)
      rest /= variable.values.count
    }
    return choice.reversed()
  }

  private func runCoordinates(
    _ state: inout State, _ objective: (Candidate) throws(Problem) -> RecipeScore, _ progress: (RecipeTrial) -> Void
  ) throws(Problem) -> Bool {
    var current = variables.map { _ in 0 }
    guard var best = try state.score(current, objective, progress) else { return false }
    while true {
      let before = current
      for (index, variable) in variables.enumerated() {
        var improved = current
        for value in variable.values.indices where value != current[index] {
          var choice = current
          choice[index] = value
          guard let score = try state.score(choice, objective, progress) else { return false }
          if state.isBetter(score, than: best) { (best, improved) = (score, choice) }
        }
        current = improved
      }
      if current == before { return true }
    }
  }

  // MARK: - State

  /// What has been tried.
  private struct State {
    let search: RecipeSearch
    let budget: Int
    let goal: RecipeSearchGoal
    private let log: RecipeSearchLog?
    private var numbers: [[Int]: Int] = [:]
    private(set) var trials: [RecipeTrial] = []
    private(set) var best: Int?

    init(search: RecipeSearch, options: RecipeSearchOptions) throws(Problem) {
      self.search = search
      budget = options.budget
      goal = options.goal
      if let path = options.log {
        log = try RecipeSearchLog(
          at: path, header: ["goal": .string(goal.rawValue), "protocol": options.protocolText],
          resume: options.resume)
      } else {
        log = nil
      }
    }

    func isBetter(_ a: RecipeScore, than b: RecipeScore) -> Bool {
      guard a.value.isFinite else { return false }
      return !b.value.isFinite || goal.isBetter(a.value, than: b.value)
    }

    /// The score of a combination, from memory, the log or the objective; nil if it would be one trial too many.
    mutating func score(
      _ choice: [Int], _ objective: (Candidate) throws(Problem) -> RecipeScore, _ progress: (RecipeTrial) -> Void
    ) throws(Problem) -> RecipeScore? {
      if let number = numbers[choice] { return trials[number].score }
      guard trials.count < budget else { return nil }
      let candidate = search.candidate(choice)
      let known = log?.score(of: candidate.digest)
      let score: RecipeScore
      if let known { score = known } else { score = try objective(candidate) }
      let trial = RecipeTrial(number: trials.count, candidate: candidate, score: score, isKnown: known != nil)
      if known == nil { try log?.append(trial, variables: search.variables.map(\.name)) }
      numbers[choice] = trial.number
      trials.append(trial)
      if let leader = best.map({ trials[$0].score }) {
        if isBetter(score, than: leader) { best = trial.number }
      } else if score.value.isFinite {
        best = trial.number
      }
      progress(trial)
      return score
    }
  }
}
