public import ArgumentParser
import EspalierRecipes
public import EspalierReduction

extension SensitivityTable.Objective: ExpressibleByArgument {}

/// Budgets that pruning and factorization share.
struct BudgetOptions: ParsableArguments {
  @Option(help: "The share of the numbers of these matrices that stays, above 0 and at most 1.")
  var parameters: Double?

  @Option(help: ArgumentHelp("The size of the whole model's weights, e.g. 100MB.", valueName: "size"))
  var size: String?

  @Option(help: "The relative error of each matrix's outputs at most: every matrix gets its smallest level within it.")
  var maxError: Double?

  @Flag(help: "Deal the budget out by measured sensitivity, so that the sum of squared errors is least.")
  var allocate = false

  @Option(
    help: """
      With --allocate: relative, errors count by the size of each matrix's outputs; absolute, as they are; effect, by \
      what they do to the model, which the table has to say (default: effect where it does, else relative).
      """)
  var objective: SensitivityTable.Objective?

  @Option(
    help: ArgumentHelp("A table of `espalier sensitivity`, in place of measuring one.", valueName: "file"),
    completion: .file(extensions: ["json"]))
  var table: String?

  /// As far as they are shared.
  var words: BudgetWords {
    var words = BudgetWords()
    (words.share, words.size, words.maxError) = (parameters, size, maxError)
    (words.allocate, words.objective, words.table) = (allocate, objective, table)
    return words
  }
}

extension BudgetWords {
  /// Refuses what makes no sense, in the options' words.
  func validate(makesFactors: Bool) throws {
    let found = complaints(makesFactors: makesFactors) { word in
      switch word {
      case .share: "--parameters"
      case .maxError: "--max-error"
      default: "--\(word.rawValue)"
      }
    }
    if let first = found.first { throw ValidationError(first.message + ".") }
  }
}

/// How many weights go.
struct PruningBudget: ParsableArguments {
  @Option(help: "The share of weights that goes, from 0 to 1.")
  var sparsity: Double?

  @Option(help: ArgumentHelp("Of every M consecutive inputs of an output N stay, e.g. 2:4.", valueName: "N:M"))
  var pattern: String?

  @OptionGroup var shared: BudgetOptions

  private var words: BudgetWords {
    var words = shared.words
    (words.sparsity, words.pattern) = (sparsity, pattern)
    return words
  }

  func validate() throws { try words.validate(makesFactors: false) }

  var wish: BudgetWish { words.wish(makesFactors: false) }
}

/// How small factors are.
struct FactorBudget: ParsableArguments {
  @Option(help: "The rank of every matrix.")
  var rank: Int?

  @OptionGroup var shared: BudgetOptions

  private var words: BudgetWords {
    var words = shared.words
    words.rank = rank
    return words
  }

  func validate() throws { try words.validate(makesFactors: true) }

  var wish: BudgetWish { words.wish(makesFactors: true) }

  /// As methods of whole blocks take it.
  var isShareAlone: Bool { words.isShareAlone }
}
