public import EspalierArchitectures
public import EspalierBasics
public import EspalierCheckpoints
internal import EspalierNumerics

extension Problem.Code {
  /// The layers of a model cannot be made alike by zeros.
  public static let padding = Problem.Code("restructuring.padding")
}

/// A model of uneven layers with all layers made alike by zeros: a plain Hugging Face model that gives the same logits.
///
/// Every axis that layers have sizes of their own of gets one size in all, and what is new is zero. A unit of a
/// feed-forward map, or a head, whose column of the output projection is zero adds nothing, whatever else it computes; a
/// missing block is there again with an output of zero. What holds afterwards: the stream between layers is the same up
/// to the order of sums.
///
/// The checkpoint is lazy: parameters that change have a recipe that puts zeros between stored rows and columns.
public struct PaddedCheckpoint: Checkpoint {
  public let base: any Checkpoint
  public let config: JSON?
  public let parameters: [Parameter]
  /// Names of parameters that have zeros in them.
  public let padded: [String]

  public var location: String { base.location }
  public var folder: String? { base.folder }
  public var weightFiles: [String] { base.weightFiles }
  public var warnings: [Problem] { base.warnings }
  public var embeddedFiles: [String: [UInt8]] { base.embeddedFiles }

  /// Reads nothing but headers. A model whose layers are alike already is taken as it is.
  ///
  /// - Parameters:
  ///   - base: with a config of a known family.
  ///   - families: to recognise it by.
  /// - Throws: every problem found: `architecture.unsupported` for an unknown family, `architecture.config` for an
  ///   unreadable config, `architecture.inverse` if the family's config cannot store the sizes, `restructuring.padding`
  ///   for an axis along which zeros would change what the model computes (widths of heads that are scored, what a norm
  ///   or a router runs over), and for parameters that are missing or of another shape than the config says.
  public init(_ base: any Checkpoint, families: [Architecture] = Architecture.builtIn()) throws(Problems) {
    guard let config = base.config, let family = Architecture.recognise(config: config, among: families) else {
      throw Problems([
        Problem(
          .architectureUnsupported, "no known family fits the model, so nobody knows how its layers differ",
          file: base.location)
      ])
    }
    self.base = base
    var padding: Padding
    do throws(Problem) {
      let evened = try Padding.evened(config, of: family)
      padding = Padding(from: try family.describe(config: config), to: try family.describe(config: evened))
      self.config = evened
    } catch { throw Problems([error.at(file: base.location)]) }
    padding.run(base.parameters)
    guard padding.problems.all.isEmpty else {
      throw Problems(padding.problems.all.map { $0.at(file: base.location) })
    }
    parameters = padding.parameters
    padded = padding.padded
  }
}
