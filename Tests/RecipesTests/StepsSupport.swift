import EspalierArchitectures
import EspalierBasics
import EspalierExecution
import EspalierLinearMaps
import TestSupport

@testable import EspalierRecipes

/// Recipes of steps on the family in `Models`.
struct StepsPlace {
  let folder: String
  var options: MergeOptions
  var run: RunOptions

  static let models = "\(packageFolder)/Models"
  static let text = "\(models)/text/calib/docs.txt"
  static let test = "\(models)/text/test/docs.txt"

  init(_ folder: String, threads: Int = 2) throws {
    self.folder = folder
    options = MergeOptions(output: "\(folder)/out")
    options.threads = threads
    options.memory = 1 << 30
    run = RunOptions(
      mode: .exact, pool: WorkerPool(threads: threads), memory: 1 << 30, families: try Architecture.families(with: []))
  }

  var output: String { options.output }
  var stages: String { StepStages.folder(beside: output) }
  var recipe: String { "\(folder)/steps.yml" }

  func plan(_ text: String) throws -> StepsPlan {
    try FileSystem.write(Array(text.utf8), to: recipe)
    return try StepsPlan(recipeAt: recipe, options: options, run: run, listener: SilentListener())
  }

  @discardableResult
  func execute(_ text: String) throws -> StepsReport {
    try StepsRun.execute(try plan(text), listener: SilentListener())
  }

  /// The same place, continuing what is there.
  var resuming: StepsPlace {
    var place = self
    place.options.policy.resume = true
    return place
  }

  func weights(_ path: String) throws -> [UInt8] { try FileSystem.read("\(path)/model.safetensors") }

  static func with<T>(_ body: (StepsPlace) throws -> T) throws -> T {
    try withTemporaryFolder { try body(StepsPlace($0)) }
  }
}

/// Two experts averaged.
let averageOfTwo = """
  merge_method: linear
  models:
    - {model: \(StepsPlace.models)/expert-code, parameters: {weight: 1}}
    - {model: \(StepsPlace.models)/expert-prose, parameters: {weight: 1}}
  dtype: bfloat16

  """

extension String {
  /// Every line moved to the right.
  func indented(by count: Int) -> String {
    split(separator: "\n", omittingEmptySubsequences: false)
      .map { $0.isEmpty ? "" : String(repeating: " ", count: count) + $0 }.joined(separator: "\n")
  }
}
