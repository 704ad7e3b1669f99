import ArgumentParser
import EspalierBasics
import EspalierCalibration
import EspalierCheckpoints
import EspalierLinearMaps
import EspalierNetworks
import EspalierRecipes

/// How small a model shall be that is packed with loss, and by what errors are weighed.
struct LossyArguments: ParsableArguments {
  @Flag(help: "Round matrices before they are packed, as coarsely as --ratio or --size asks for.")
  var lossy = false

  @Option(help: "Bytes of the files of weights over those of the packed files, above 1.")
  var ratio: Double?

  @Option(help: ArgumentHelp("Bytes of the packed files, e.g. 20MB.", valueName: "size"))
  var size: String?

  @OptionGroup var calibration: CalibrationTextOptions

  @Option(
    help: ArgumentHelp("Statistics of `espalier calibrate` in place of text.", valueName: "file"), completion: .file())
  var statistics: String?

  @Flag(help: "Leave rounding errors where they are, instead of making up for them in columns that come later.")
  var noFeedback = false

  func validate() throws {
    let others = ratio != nil || size != nil || statistics != nil || !calibration.text.isEmpty || noFeedback
    if !lossy, others {
      throw ValidationError("--ratio, --size, --text, --statistics and --no-feedback belong to --lossy.")
    }
    guard lossy else { return }
    if (ratio == nil) == (size == nil) { throw ValidationError("--lossy needs --ratio or --size, and not both.") }
    if let ratio, !(ratio > 1 && ratio <= 1e6) { throw ValidationError("--ratio must be above 1.") }
    if let size, (ByteCount.parse(size) ?? 0) < 1 {
      throw ValidationError("--size \(size) is not a size; write it like 20MB.")
    }
    if statistics != nil, !calibration.text.isEmpty {
      throw ValidationError("Give --text or --statistics, not both.")
    }
  }

  private var goal: LossyGoal {
    if let bytes = size.flatMap({ ByteCount.parse($0) }) { return .bytes(bytes) }
    return .ratio(ratio ?? 1)
  }

  /// - Parameter path: where statistics of text are kept until the model is packed.
  func options(
    for model: String, gathering path: String, resume: Bool, onlyPlan: Bool, _ running: RunningOptions,
    _ lookup: ModelLookup, _ work: WorkOptions, _ listener: any ProgressListener
  ) throws(Problems) -> LossyOptions {
    var options = LossyOptions(goal: goal)
    if statistics != nil || !calibration.text.isEmpty && !onlyPlan {
      let checkpoint = try lookup.open(model)
      let run = try running.options(work, lookup, default: .exact)
      if statistics == nil, !(resume && FileSystem.isFile(path)) {
        try gather(checkpoint, to: path, resume: resume, run, listener)
      }
      do throws(Problem) {
        options = try LossyOptions(goal: goal, statistics: statistics ?? path, of: checkpoint, run: run)
      } catch { throw Problems([error]) }
    }
    options.handsOn = !noFeedback
    return options
  }

  private func gather(
    _ checkpoint: any Checkpoint, to path: String, resume: Bool, _ run: RunOptions, _ listener: any ProgressListener
  ) throws(Problems) {
    let text = try calibration.read(for: checkpoint)
    do throws(Problem) {
      let network = try Network(
        checkpoint, architectures: run.families, mode: run.mode, residency: .streamed, workers: run.pool)
      let calibration = try Calibration(
        network, sequences: text.windows.sequences, memory: run.memory, momentLimit: 8192, workers: run.pool)
      var record = text.record(mode: run.mode, momentLimit: 8192)
      record.model = try ModelIdentity(of: checkpoint, workers: run.pool)
      _ = try calibration.run(record, to: path, resume: resume, force: true, listener: listener)
    } catch { throw Problems([error]) }
  }
}
