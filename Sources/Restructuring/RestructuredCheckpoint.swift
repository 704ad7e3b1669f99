public import EspalierArchitectures
public import EspalierBasics
public import EspalierCheckpoints
internal import EspalierNumerics

/// A model after a change of its structure: every parameter says where it comes from, nothing is read or written yet.
///
/// Whatever reads checkpoints reads it: it can be run and measured, calibrated, quantized, merged or written.
public struct RestructuredCheckpoint: Checkpoint {
  public let base: any Checkpoint
  public let config: JSON?
  public let parameters: [Parameter]
  /// What its parameters mean.
  public let description: ModelDescription
  /// What stayed of `base`.
  public let change: StructuralChange
  /// What each parameter was before the change, by its name now; not of those that are sums of several.
  let origins: [String: ParameterDescription]
  public let warnings: [Problem]

  public var location: String { base.location }
  public var folder: String? { base.folder }
  public var weightFiles: [String] { base.weightFiles }
  public var embeddedFiles: [String: [UInt8]] { base.embeddedFiles }

  /// - Parameters:
  ///   - base: with a config of the family.
  ///   - change: in terms of what `family` describes.
  /// - Throws: everything that does not fit: choices of axes that the model does not have or must not be changed along,
  ///   configs that cannot say the new sizes, tensors of other shapes than described.
  public init(_ base: any Checkpoint, of family: Architecture, change: StructuralChange) throws(Problems) {
    var builder = try Builder(base, family, change)
    try builder.run()
    self.base = base
    self.change = change
    (config, parameters, description) = (builder.config, builder.parameters, builder.after)
    origins = builder.origins
    warnings = base.warnings + builder.warnings
  }

  /// Finds for every parameter of the changed model what it is made of.
  private struct Builder {
    let base: any Checkpoint
    let change: StructuralChange
    let before: ModelDescription
    let after: ModelDescription
    let config: JSON
    let compensation: NormCompensation
    let fit: ModelDescription.Fit
    var parameters: [Parameter] = []
    var origins: [String: ParameterDescription] = [:]
    var warnings: [Problem] = []
    var problems = Problems()

    init(_ base: any Checkpoint, _ family: Architecture, _ change: StructuralChange) throws(Problems) {
      (self.base, self.change) = (base, change)
      do throws(Problem) {
        guard let config = base.config else {
          throw Problem(.restructuring, "the model has no config, so its axes are not known", file: base.location)
        }
        before = try family.describe(config: config)
        fit = before.fit(names: base.parameters.map(\.name))
        try StructuralChecks.check(change, of: before)
        compensation = try NormCompensation(of: change, family: family, config: config, description: before)
        let stored = Set(fit.described.map(\.parameter.name))
        let changes = ConfigChanges(of: change, in: before, stored: stored)
        let changed = try changes.applied(to: config, of: family)
        self.config = compensation.applied(to: changed)
        after = try family.describe(config: self.config)
        try StructuralChecks.checkMissing(change, in: after)
      } catch { throw Problems([error]) }
    }

    mutating func run() throws(Problems) {
      let stored = Dictionary(
        fit.described.map { ($0.parameter.name, $0.name) }, uniquingKeysWith: { first, _ in first })
      let byName = base.parametersByName()
      let sources = Dictionary(before.parameters.map { (Origin($0), $0) }, uniquingKeysWith: { first, _ in first })
      for parameter in after.parameters {
        guard let origin = origin(of: parameter), let source = sources[origin] else {
          problems.add(Problem(.restructuring, "nothing becomes the parameter", tensor: parameter.name))
          continue
        }
        // A parameter that the file does without (tied, optional) is not there afterwards either.
        guard let name = stored[source.name], let found = byName[ExactString(name)] else { continue }
        do throws(Problem) {
          var result = try changed(found, described: source, becomes: parameter)
          let folding = try Folding(of: parameter, from: origin, source: source, change: change)
          if let folding {
            var terms: [[Parameter]] = []
            for sum in folding.sums {
              var parts: [Parameter] = []
              for part in sum {
                guard let described = sources[part.origin], let name = stored[described.name],
                  let found = byName[ExactString(name)]
                else {
                  throw Problem(.restructuring, "a layer or an expert that folds into another has no such parameter")
                }
                parts.append(
                  folding.isStack ? found : try changed(found, described: described, becomes: parameter))
              }
              terms.append(parts)
            }
            result.recipe = try folding.recipe(of: terms, described: source, shape: parameter.shape, change: change)
          } else {
            origins[result.name] = source
          }
          parameters.append(result)
        } catch { problems.add(error.at(tensor: name)) }
      }
      for name in fit.unknown {
        guard let found = byName[ExactString(name)] else { continue }
        parameters.append(found)
        warnings.append(
          Problem(.restructuring, "the tensor is not described and stays as it is", tensor: name, severity: .warning))
      }
      guard problems.errors.isEmpty else { throw problems }
      parameters.sort { SafetensorsCheckpoint.precedes($0.name, $1.name) }
    }

    /// Where in the model before the change a parameter of the changed model comes from.
    private func origin(of parameter: ParameterDescription) -> Origin? {
      var origin = Origin(parameter)
      if let layer = parameter.layer, let layers = change.layers[parameter.tower] {
        guard layers.indices.contains(layer) else { return nil }
        origin.layer = layers[layer]
      }
      if let expert = parameter.expert, let choice = change.choices[experts(of: parameter, layer: origin.layer)] {
        guard let entries = choice.lists.first, entries.indices.contains(expert) else { return nil }
        origin.expert = entries[expert]
      }
      return origin
    }

    /// The axis of experts beside which a parameter of one expert stands.
    private func experts(of parameter: ParameterDescription, layer: Int?) -> String {
      let place = layer.map { "\(parameter.tower)/\($0)" } ?? parameter.tower
      return "\(place)/experts"
    }

    private func changed(
      _ found: Parameter, described source: ParameterDescription, becomes parameter: ParameterDescription
    ) throws(Problem) -> Parameter {
      guard found.shape == source.shape else {
        throw Problem(.restructuring, "the shape is \(found.shape), the family describes \(source.shape)")
      }
      var entries: [[Int]?] = []
      for dimension in source.dimensions {
        let isTouched = dimension.axes.contains { change.choices[$0.instance] != nil }
        entries.append(isTouched ? try dimension.indices(taking: change.choices) : nil)
      }
      let selection = try EntrySelection(of: found.shape, entries: entries)
      guard selection.takenShape == parameter.shape else {
        throw Problem(
          .restructuring,
          "the shape would be \(selection.takenShape), the changed config of \(before.architecture) describes \(parameter.shape)"
        )
      }
      var result = found
      let spelling = source.names.firstIndex(of: found.name) ?? 0
      result.name = parameter.names.indices.contains(spelling) ? parameter.names[spelling] : parameter.name
      result.shape = parameter.shape
      if !selection.takesAll { result.recipe = .selected(result.recipe, selection) }
      return compensation.applied(to: result, described: source)
    }
  }
}

/// What a parameter is, whichever layer or expert it stands in.
struct Origin: Hashable {
  let tower: String
  let familyName: String
  var layer: Int?
  var expert: Int?

  init(_ parameter: ParameterDescription) {
    (tower, familyName) = (parameter.tower, parameter.familyName)
    (layer, expert) = (parameter.layer, parameter.expert)
  }
}
