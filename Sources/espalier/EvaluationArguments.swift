import ArgumentParser
import EspalierBasics
import EspalierCheckpoints
import EspalierEvaluation
import EspalierLinearMaps
import EspalierNetworks
import EspalierNumerics
import EspalierRecipes

/// What `evaluate` and `compare` take alike.
struct EvaluationArguments: ParsableArguments {
  @OptionGroup var measuring: MeasuringOptions
  @OptionGroup(title: "Gates") var gates: GateOptions
  @OptionGroup var running: RunningOptions
  @OptionGroup var lookup: ModelLookup
  @OptionGroup var work: WorkOptions
  @OptionGroup var style: OutputStyle

  func evaluation(on data: EvaluationData, of models: [any Checkpoint]) throws(Problems) -> ModelEvaluation {
    var evaluation = ModelEvaluation(
      data: data, cut: measuring.texts.textProtocol(context: models.compactMap(\.contextLength).min()),
      run: try running.options(work, lookup, default: .exact), listener: listener)
    evaluation.answerTokens = measuring.answerTokens
    evaluation.bootstrap = Bootstrap(seed: measuring.texts.seed)
    return evaluation
  }

  /// Progress for people only: with --json the report is the one object printed.
  private var listener: any ProgressListener { style.json || style.quiet ? QuietListener() : ProgressPrinter() }
}
