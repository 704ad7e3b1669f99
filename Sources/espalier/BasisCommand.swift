import ArgumentParser
import EspalierArchitectures
import EspalierBasics
import EspalierNumerics
import EspalierRecipes

struct Basis: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Stores fine-tunes of one base as a few shared tensors, and rebuilds each.",
    discussion: """
      EXAMPLES
        espalier basis make code prose sums --base base --rank 2 -o family.basis.safetensors
        espalier basis get family.basis.safetensors --model prose -o prose-again
      """, subcommands: [BasisMake.self, BasisGet.self])
}

struct BasisMake: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "make", abstract: "Writes the basis of several fine-tunes.",
    discussion: """
      For every parameter the changes of the models are replaced by the nearest ones in a space of --rank tensors, the \
      truncated singular value decomposition. With as many as there are models only rounding is lost. The error of each \
      model is printed for every rank.

      EXAMPLES
        espalier basis make code prose sums --base base --rank 2 -o family.basis.safetensors
        espalier basis make code prose sums --base base --rank 3 --dtype f32 -o exact.basis.safetensors
      """)

  @Argument(help: "The fine-tunes: models, or model+adapter.", completion: .directory)
  var fineTunes: [String]

  @Option(help: "The model that all were made from.", completion: .directory)
  var base: String

  @Option(help: "Tensors that are kept of each parameter.")
  var rank: Int

  @Option(help: "Type of the tensors: f16, bf16 or f32.")
  var dtype = "f16"

  @OptionGroup var place: ResumablePlaceOptions

  @OptionGroup var lookup: ModelLookup
  @OptionGroup var work: WorkOptions
  @OptionGroup var style: OutputStyle

  func validate() throws {
    if !(1...fineTunes.count).contains(rank) {
      throw ValidationError("--rank must be from 1 to the number of models, \(fineTunes.count).")
    }
    if !Conversion.elementTypes.contains(where: { $0.rawValue == dtype }) {
      throw ValidationError("--dtype \(dtype) is not one of f32, f16, bf16.")
    }
  }

  func run() throws {
    let listener = style.listener()
    try reportingProblems(json: style.json) { () throws(Problems) in
      var options = BasisOptions(output: place.place.path, rank: rank)
      options.elementType = ElementType(rawValue: dtype) ?? .f16
      (options.policy, options.threads, options.memory) = (place.policy, work.threadCount, work.memoryBytes)
      options.models = lookup.models
      let basis = try ModelBasis(of: fineTunes, from: base, options: options, families: try lookup.families())
      for problem in basis.warnings { listener.receive(.problem(problem)) }
      do throws(Problem) {
        let report = try basis.run(listener: listener)
        style.show(report.text, json: report.json)
      } catch { throw Problems([error]) }
    }
  }
}

struct BasisGet: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "get", abstract: "Writes one of the models of a basis.",
    discussion: """
      EXAMPLES
        espalier basis get family.basis.safetensors --model prose -o prose-again
      """)

  @Argument(help: "The basis.", completion: .file(extensions: ["safetensors"]))
  var basis: String

  @Option(help: "The model: its name as it was given, the end of it, or its number.")
  var model: String

  @Option(help: "The base (default: by the name it was given).", completion: .directory)
  var base: String?

  @OptionGroup var writing: WritingOptions
  @OptionGroup var lookup: ModelLookup
  @OptionGroup var work: WorkOptions
  @OptionGroup var style: OutputStyle

  func run() throws {
    let listener = style.listener()
    try reportingProblems(json: style.json) { () throws(Problems) in
      let plan = try ModelBasis.rebuilding(
        model, from: basis, base: base, options: writing.options(work, lookup))
      for problem in plan.warnings { listener.receive(.problem(problem)) }
      do throws(Problem) {
        let report = try Conversion.run(plan, listener: listener)
        style.show(report.text, json: report.json)
      } catch { throw Problems([error]) }
    }
  }
}
