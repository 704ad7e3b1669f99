import ArgumentParser
import EspalierBasics
import EspalierCheckpoints
import EspalierExecution
import EspalierRecipes

/// Where verbs write that make anything but a model.
struct PlaceOptions: ParsableArguments {
  @Option(name: [.short, .long], help: "The file or folder to write.", completion: .file())
  var output: String

  @Flag(help: "Replace an existing output once the new one is complete.")
  var force = false

  func validate() throws {
    // What is written is renamed into place, which needs a name.
    if ["", ".", "..", "/"].contains(FileSystem.lastComponent(of: output)) {
      throw ValidationError("--output needs a name.")
    }
  }

  /// Without slashes at its end.
  var path: String {
    var path = output
    while path.count > 1, path.hasSuffix("/") { path.removeLast() }
    return path
  }
}

/// Where verbs write a file that an interrupted run can go on with.
struct ResumablePlaceOptions: ParsableArguments {
  @OptionGroup var place: PlaceOptions

  @Flag(help: "Continue an interrupted run.")
  var resume = false

  func validate() throws {
    if place.output.hasSuffix(WeightFile.packedSuffix) {
      throw ValidationError("--output \(place.output): `espalier pack` writes packed files, from this one.")
    }
  }

  var policy: OutputFolder.Policy { OutputFolder.Policy(resume: resume, force: place.force) }
}

/// How runs that write go on, or begin anew.
struct ContinuingOptions: ParsableArguments {
  @Flag(help: "Continue an interrupted run.")
  var resume = false

  @Flag(help: "Replace an existing output, and start over if a partial one is there.")
  var force = false

  @Flag(help: "Carry NaN and infinity instead of stopping at them.")
  var allowNonfinite = false

  func fill(_ options: inout MergeOptions) {
    options.policy = OutputFolder.Policy(resume: resume, force: force)
    options.allowsNonFinite = allowNonfinite
  }
}

/// Options of the verbs that write a model.
struct WritingOptions: ParsableArguments {
  @Option(name: [.short, .long], help: "The folder to write.", completion: .directory)
  var output: String

  @OptionGroup var continuing: ContinuingOptions

  @Option(help: ArgumentHelp("Largest weight file, e.g. 5GB or 500MB.", valueName: "size"))
  var shardSize = "5GB"

  func validate() throws {
    guard let bytes = ByteCount.parse(shardSize), bytes >= 1 << 16 else {
      throw ValidationError("--shard-size \(shardSize) is not a size from 64 KiB; write it like 5GB or 500MB.")
    }
    // The folder is renamed into place, which needs a name.
    if ["", ".", "..", "/"].contains(FileSystem.lastComponent(of: output)) {
      throw ValidationError("--output needs the name of a folder.")
    }
  }

  func options(_ work: WorkOptions, _ lookup: ModelLookup) -> MergeOptions {
    var options = MergeOptions(output: output)
    while options.output.count > 1, options.output.hasSuffix("/") { options.output.removeLast() }
    options.threads = work.threadCount
    options.memory = work.memoryBytes
    options.shardBytes = ByteCount.parse(shardSize) ?? options.shardBytes
    continuing.fill(&options)
    options.models = lookup.models
    options.architectures = lookup.architecture
    return options
  }
}
