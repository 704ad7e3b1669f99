public import EspalierBasics
public import EspalierCheckpoints

/// A checkpoint of a known family as a GGUF file has it: the inverse of opening one.
///
/// ```swift
/// let export = try family.ggufExport(of: checkpoint, families: Architecture.builtIn())
/// var metadata = export.metadata  // to be completed with the tokenizer and the types of the tensors
/// ```
///
/// Nothing is read but headers. The tensors are lazy: their recipes undo what opening a GGUF file does (rows in the
/// order of rotary pairs, transposed maps, norms less one, stacked experts), and the tensors of a model that came from a
/// GGUF file are its own again, bit for bit.
public struct GGUFExport: Sendable {
  public struct Tensor: Sendable, Hashable {
    public enum Content: Sendable, Hashable {
      /// Under the name and in the shape that the file gives it.
      case parameter(Parameter)
      /// Follows from the config, to be stored in float32.
      case computed([Float])
    }

    public var name: String
    /// Slowest dimension first.
    public var shape: [Int]
    public var content: Content
    public var role: GGUFTensorRole
    /// The checkpoint's parameters that it is made of; of stacked experts in their order.
    public var sources: [String]

    /// The parameter; nil for what is computed.
    public var parameter: Parameter? { if case .parameter(let parameter) = content { parameter } else { nil } }
    /// Whether files of every type store it in float32.
    public var staysFloat32: Bool { role.staysFloat32(shape: shape) }
  }

  /// What happens to the values of some tensors.
  public struct Transform: Sendable, Hashable {
    public enum Kind: String, Sendable, Hashable, CaseIterable {
      /// Rows in the order of rotary pairs.
      case rowsReordered
      /// `[in, out]` becomes `[out, in]`.
      case transposed
      /// Experts in one tensor.
      case stacked
      /// The scale of a norm, stored less one: one is added in float32, and rounded.
      case onePlus
      /// A decay, stored as its logarithm: `-exp(x)`, rounded to float32.
      case negativeExponential

      /// Whether the values themselves stay what they are.
      public var isExact: Bool {
        switch self {
        case .rowsReordered, .transposed, .stacked: true
        case .onePlus, .negativeExponential: false
        }
      }

      /// The largest error of a value in the file, as a part of it: half a unit in the last place of float32, or none.
      public var relativeError: Double { isExact ? 0 : 0x1p-24 }
    }

    public var kind: Kind
    /// Names of the file's tensors.
    public var tensors: [String]
  }

  /// The name of the family.
  public var family: String
  /// `general.architecture`, `general.type` and everything that the architecture is described by; no tokenizer but the
  /// number of token types, and no file type.
  public var metadata: GGUFMetadata
  /// In the order in which llama.cpp's quantizer writes them: what stands outside blocks, then block by block, each by
  /// name.
  public var tensors: [Tensor]
  /// Parameters that are left out, and what llama.cpp computes otherwise.
  public var warnings: [Problem]
  public var transforms: [Transform]
}

extension Architecture {
  /// Whether GGUF files of this family can be written.
  public var writesGGUF: Bool { gguf?.writing != nil }

  /// GGUF metadata (without tokenizer and file type) and tensors of a checkpoint of this family.
  ///
  /// - Parameters:
  ///   - checkpoint: with a config.
  ///   - families: among them the one whose names this family shares.
  ///   - name: of the model (`general.name`), if it has one.
  /// - Throws: every problem found: `gguf.family` for a family whose files are not written, `gguf.config` for what the
  ///   config says and no file can, `gguf.tensor` for parameters that are missing, of another shape, or without a name
  ///   in files of the family.
  public func ggufExport(
    of checkpoint: any Checkpoint, families: [Architecture], name: String? = nil
  ) throws(Problems) -> GGUFExport {
    guard let mapping = gguf?.completed(among: families), let writing = mapping.writing else {
      let known = families.filter(\.writesGGUF).map(\.name)
      throw Problems([
        Problem(
          .ggufFamily, "GGUF files of the family \(self.name) are not written",
          remedy: "Families that are: \(known.joined(separator: ", ")).", file: checkpoint.location)
      ])
    }
    guard let config = checkpoint.config else {
      throw Problems([Problem(.checkpointConfig, "the model has no config.json", file: checkpoint.location)])
    }
    let description: ModelDescription
    do throws(Problem) { description = try describe(config: config) } catch {
      throw Problems([error.at(file: checkpoint.location)])
    }
    var exporter = GGUFExporter(
      family: self, mapping: mapping, writing: writing, description: description, config: config)
    return try exporter.run(checkpoint, families: families, name: name)
  }
}
