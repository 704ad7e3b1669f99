public import ArgumentParser
import EspalierBasics
public import EspalierLinearMaps
import EspalierRecipes

extension NumericMode: ExpressibleByArgument {}

/// Options of every verb that runs models.
struct RunningOptions: ParsableArguments {
  @Option(
    help: """
      exact: float32 throughout, a result does not depend on batch or threads; fast: what the processor multiplies \
      fastest (default: fast for generate and chat, exact for all else).
      """)
  var mode: NumericMode?

  func options(
    _ work: WorkOptions, _ lookup: ModelLookup, default mode: NumericMode
  ) throws(Problems) -> RunOptions {
    RunOptions(
      mode: self.mode ?? mode, pool: WorkerPool(threads: work.threadCount), memory: work.memoryBytes,
      families: try lookup.families())
  }
}
