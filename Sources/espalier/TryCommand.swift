public import ArgumentParser
import EspalierArchitectures
import EspalierBasics
import EspalierNumerics
public import EspalierRecipes
import EspalierReduction

extension Trial.Store: ExpressibleByArgument {}

struct Try: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Runs a pruning or factorization method on one matrix and its calibration inputs.",
    discussion: """
      Prints the error of the outputs before and after, the numbers and bytes that are left, and the time of the method \
      alone. Before is the plainest method at the same budget: magnitude pruning where zeros are made, the plain \
      singular value decomposition where factors are. Errors are relative: |(W - W') X| / |W X| in the Frobenius norm.

      FILE:NAME is a tensor of a safetensors or GGUF file or of a model's folder; NAME may be left out where there is \
      one. The weight is [outputs, inputs], the inputs are [rows, inputs]. The output has the weight [outputs, inputs] \
      under its name and factors beside it (NAME.left, NAME.right; NAME.columns, NAME.link, NAME.rows); with --store \
      reduced it has the form alone, as models store it (Docs/reduced.md).

      Methods: \(methodNames.joined(separator: ", ")).

      EXAMPLES
        espalier try wanda --weight f.safetensors:W --inputs f.safetensors:X \\
          --sparsity 0.5
        espalier try sparsegpt --weight f.safetensors:W --inputs f.safetensors:X \\
          --pattern 2:4 -o sparse.safetensors --json
        espalier try whitened-svd --weight model:model.layers.0.mlp.up_proj.weight \\
          --inputs x.safetensors --rank 64
        espalier try svd --weight w.safetensors --parameters 0.5 \\
          -o factors.safetensors --store reduced
        espalier try wanda --weight w.safetensors --sparsity 0.6 \\
          --statistics statistics.safetensors:SITE --set scope=layer
        espalier try sparsegpt --explain
      """)

  private static let methodNames = ReductionMethods.all.map { $0.card.name }

  @Argument(help: "The method.")
  var method: String

  @Option(help: ArgumentHelp("The weight: a matrix [outputs, inputs].", valueName: "file:name"), completion: .file())
  var weight: String?

  @Option(
    help: ArgumentHelp("Rows that enter the weight: [rows, inputs].", valueName: "file:name"), completion: .file())
  var inputs: String?

  @Option(
    help: ArgumentHelp("Statistics of `espalier calibrate` in place of inputs.", valueName: "file:site"),
    completion: .file())
  var statistics: String?

  @Flag(help: "The weight is stored [inputs, outputs].")
  var transposed = false

  @Option(help: ArgumentHelp("Share of elements that become zero.", valueName: "share"))
  var sparsity: Double?

  @Option(help: ArgumentHelp("Keep N of every M consecutive inputs of an output.", valueName: "N:M"))
  var pattern: String?

  @Option(help: ArgumentHelp("Rank of the factors.", valueName: "r"))
  var rank: Int?

  @Option(help: ArgumentHelp("Share of numbers that stay, in factors.", valueName: "share"))
  var parameters: Double?

  @Option(help: ArgumentHelp("A parameter of the method (repeatable); --explain lists them.", valueName: "name=value"))
  var set: [String] = []

  @Flag(help: "Print what the method does and takes, and stop.")
  var explain = false

  @Option(name: [.short, .long], help: "The file to write.", completion: .file(extensions: ["safetensors"]))
  var output: String?

  @Option(help: "What the output holds: dense or reduced.")
  var store = Trial.Store.dense

  @Option(help: "Type of the result: f32, f16 or bf16 (default: the weight's).")
  var dtype: String?

  @Flag(help: "Replace an existing output.")
  var force = false

  @Option(
    help: ArgumentHelp("A file that describes a family of models (repeatable).", valueName: "file"),
    completion: .file(extensions: ["json"]))
  var architecture: [String] = []

  @OptionGroup var work: WorkOptions

  @Flag(help: "Print the result as one JSON object.")
  var json = false

  @Flag(help: "Print nothing but problems.")
  var quiet = false

  func validate() throws {
    let type = try methodType()
    guard !explain else { return }
    guard weight != nil else { throw ValidationError("Give the weight: --weight FILE:NAME.") }
    if inputs != nil, statistics != nil { throw ValidationError("Give --inputs or --statistics, not both.") }
    let solver = try refusing { () throws(Problem) in
      try type.init(ReductionParameters(try type.card.values(set), for: type.card))
    }
    if solver.needs > .nothing, inputs == nil, statistics == nil {
      throw ValidationError("\(method) needs --inputs FILE:NAME or --statistics FILE:SITE.")
    }
    try check(try budget())
    if let dtype, !Trial.elementTypes.contains(where: { $0.rawValue == dtype }) {
      throw ValidationError("--dtype \(dtype) is not one of f32, f16, bf16.")
    }
    if let output, ["", ".", "..", "/"].contains(FileSystem.lastComponent(of: output)) {
      throw ValidationError("--output needs the name of a file.")
    }
  }

  /// Zeros have one kind of budget, factors another.
  private func check(_ budget: MatrixBudget) throws {
    let isOfZeros =
      switch budget {
      case .sparsity, .pattern: true
      case .rank, .parameters: false
      }
    let makesFactors = ReductionMethods.makesFactors(method)
    guard isOfZeros == makesFactors else { return }
    throw ValidationError(
      makesFactors
        ? "\(method) makes factors: its budget is --rank or --parameters."
        : "\(method) makes zeros: its budget is --sparsity or --pattern.")
  }

  private func methodType() throws -> any ReductionMethod.Type {
    if let found = ReductionMethods.all.first(where: { $0.card.name == method }) { return found }
    if ReductionMethods.blocks.contains(where: { $0.card.name == method }) {
      throw ValidationError("\(method) takes the matrices of a block together: see `espalier factorize`.")
    }
    let near = Spelling.nearest(to: method, among: Self.methodNames)
    throw ValidationError(
      "There is no method \(method)"
        + (near.map { "; did you mean \($0)?" } ?? ". Methods: \(Self.methodNames.joined(separator: ", "))."))
  }

  /// What `body` finds wrong is wrong use.
  private func refusing<T>(_ body: () throws(Problem) -> T) throws -> T {
    do throws(Problem) { return try body() } catch {
      throw ValidationError([error.message, error.remedy].compactMap { $0 }.joined(separator: ". "))
    }
  }

  private func budget() throws -> MatrixBudget {
    let given = [sparsity != nil, pattern != nil, rank != nil, parameters != nil].count { $0 }
    // Codes alone are smaller; a budget says what becomes zero besides.
    if given == 0, ReductionMethods.makesCodes(method) { return .sparsity(0) }
    guard given == 1 else {
      throw ValidationError("Give one budget: --sparsity, --pattern, --rank or --parameters.")
    }
    if let sparsity {
      guard (0...1).contains(sparsity) else { throw ValidationError("--sparsity must be from 0 to 1.") }
      return .sparsity(sparsity)
    }
    if let pattern {
      guard let (keep, of) = BudgetWords.groups(pattern) else {
        throw ValidationError("--pattern \(pattern) is not N:M with N from 1 to M, such as 2:4.")
      }
      return .pattern(keep: keep, of: of)
    }
    if let rank {
      guard rank >= 1 else { throw ValidationError("--rank must be at least 1.") }
      return .rank(rank)
    }
    guard let parameters, parameters > 0, parameters <= 1 else {
      throw ValidationError("--parameters must be above 0 and at most 1.")
    }
    return .parameters(parameters)
  }

  func run() throws {
    let type = try methodType()
    if explain {
      print(Self.explanation(of: type))
      return
    }
    let source: Trial.Source? = inputs.map { .inputs(FilePart($0)) } ?? statistics.map { .statistics(FilePart($0)) }
    var trial = Trial(
      method: method, parameters: try type.card.values(set), budget: try budget(), weight: FilePart(weight ?? ""),
      source: source)
    trial.isTransposed = transposed
    trial.elementType = dtype.flatMap { ElementType(rawValue: $0) }
    (trial.store, trial.output, trial.replacesOutput) = (store, output, force)
    (trial.threads, trial.memory) = (work.threadCount, work.memoryBytes)
    try reportingProblems(json: json) { () throws(Problems) in
      // One object alone on standard output, so that it can be read as it is.
      let listener: any ProgressListener = json || quiet ? QuietListener() : ProgressPrinter()
      let result = try trial.run(families: try Architecture.families(with: architecture), listener: listener)
      if json { print(result.json.text()) } else if !quiet { print(result.text) }
    }
  }

  private static func explanation(of type: any ReductionMethod.Type) -> String {
    let card = type.card
    var lines = ["\(card.name): \(card.summary)", "source: \(card.source)"]
    switch type.needs {
    case .nothing: lines.append("needs no inputs")
    case .columns: lines.append("needs sums of the inputs by column")
    case .moment: lines.append("needs the second moment of the inputs")
    }
    for parameter in card.parameters {
      let standard = parameter.standard.map { ", default \($0)" } ?? ""
      lines.append("  --set \(parameter.name)=  \(parameter.expected)\(standard): \(parameter.meaning)")
    }
    if !card.notes.isEmpty { lines.append(card.notes) }
    return lines.joined(separator: "\n")
  }
}
