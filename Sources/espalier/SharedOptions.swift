import ArgumentParser
import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierEvaluation
import EspalierRecipes

/// Options of every verb that works for a while.
struct OutputStyle: ParsableArguments {
  @Flag(help: "Print events and results as JSON, one object a line.")
  var json = false

  @Flag(help: "Print nothing but problems.")
  var quiet = false

  func listener() -> any ProgressListener {
    if json { return JSONEvents() }
    if quiet { return QuietListener() }
    return ProgressPrinter()
  }

  /// Prints what came of a run.
  func show(_ text: @autoclosure () -> String, json report: @autoclosure () -> JSON) {
    if json { print(report().text()) } else if !quiet { print(text()) }
  }
}

struct WorkOptions: ParsableArguments {
  @Option(help: "Threads to use (default: every processor this process may use).")
  var threads: Int?

  @Option(
    help: ArgumentHelp(
      "Ceiling on resident memory, e.g. 4G or 512M (default: half of the machine's or the control group's).",
      valueName: "size"))
  var memory: String?

  func validate() throws {
    if let threads, !(1...1024).contains(threads) { throw ValidationError("--threads must be from 1 to 1024.") }
    if let memory, ByteCount.parse(memory) == nil {
      throw ValidationError("--memory \(memory) is not a size; write it like 4G, 512M or 2.5GB.")
    }
  }

  var threadCount: Int { threads ?? Machine.processorCount }
  var memoryBytes: Int { memory.flatMap { ByteCount.parse($0) } ?? Machine.memoryBytes / 2 }
}

/// Where models and families are looked up.
struct ModelLookup: ParsableArguments {
  @Option(
    help: ArgumentHelp("A folder in which names of models are looked up.", valueName: "dir"), completion: .directory)
  var models: String?

  @Option(
    help: ArgumentHelp("A file that describes a family of models (repeatable).", valueName: "file"),
    completion: .file(extensions: ["json"]))
  var architecture: [String] = []

  func open(_ name: String) throws(Problems) -> any Checkpoint {
    try ModelLocator(recipeFolder: ".", models: models).open(
      ModelReference(parsing: name, line: 0), families: families())
  }

  func families() throws(Problems) -> [Architecture] { try Architecture.families(with: architecture) }
}

extension WorkOptions {
  func measurement(spectra: Bool, listener: any ProgressListener) -> MeasurementOptions {
    MeasurementOptions(spectra: spectra, threads: threadCount, memory: memoryBytes, listener: listener)
  }
}
