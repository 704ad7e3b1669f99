public import EspalierArchitectures
public import EspalierBasics
public import EspalierCheckpoints
internal import EspalierLinearMaps
internal import EspalierNumerics

/// What a checkpoint holds: the verb `inspect`.
///
/// From headers alone it knows names, shapes, types and roles; ``measured(_:)`` reads the weights.
public struct Inspection: Sendable {
  public struct Tensor: Sendable {
    public var parameter: Parameter
    public var place: TensorPlace
    /// Nil unless weights were read.
    public var statistics: TensorStatistics?
    /// Nil unless asked for and the tensor is a matrix of floats; a failure tells why there is none.
    public var spectrum: Result<Spectrum, Problem>?

    /// Bytes of the parameter as the model stores it.
    public var byteCount: Int {
      guard parameter.isQuantized || form != nil else { return plainByteCount }
      return parameter.recipe.storedTensors.reduce(0) { $0 + $1.byteCount }
    }

    /// Bytes of the parameter with every element written in its type.
    public var plainByteCount: Int { parameter.elementCount * parameter.elementType.byteWidth }

    /// The type the model stores it in: an element type, a type of quantized blocks by its name in GGUF files, or a
    /// reduced form with the type of its numbers.
    public var typeName: String {
      if let form { return "\(form.name) \(form.typeNames.joined(separator: " and "))" }
      guard parameter.isQuantized else { return parameter.elementType.rawValue }
      return parameter.packedForm?.formatName ?? parameter.storedFormat?.name ?? "mixed"
    }

    /// What is known of the reduced form it is stored in; nil where every element is stored.
    public var form: ReducedForm? { parameter.reducedForm.map { ReducedForm($0) } }
  }

  /// Some of the tensors taken together.
  public struct Group: Sendable, Hashable {
    public var name: String
    public var tensorCount: Int
    public var parameterCount: Int
    public var byteCount: Int
    /// Of all its tensors together; nil unless weights were read.
    public var statistics: TensorStatistics?
  }

  public let location: String
  public let outline: ModelOutline
  /// In the order of their names.
  public private(set) var tensors: [Tensor]

  /// Looks at headers and config; no weights are read.
  ///
  /// - Parameter families: the descriptions to recognise the model by.
  public init(of checkpoint: any Checkpoint, families: [Architecture] = Architecture.builtIn()) {
    location = checkpoint.location
    let outline = ModelOutline(of: checkpoint, families: families)
    self.outline = outline
    tensors = zip(checkpoint.parameters, outline.places).map { Tensor(parameter: $0, place: $1) }
  }

  /// The same with statistics of every tensor, and spectra if asked for. Weights are read once, and matrices once more
  /// for spectra.
  ///
  /// The figures do not depend on threads or memory.
  ///
  /// - Throws: what reading the files throws.
  public func measured(_ options: MeasurementOptions = MeasurementOptions()) throws(Problem) -> Inspection {
    let costs = tensors.map { tensor in
      (tensor.form == nil ? tensor.byteCount : tensor.plainByteCount)
        * (options.spectra && MeasurementContext.hasSpectrum(tensor.parameter) ? 2 : 1)
    }
    var result = self
    result.tensors = try MeasurementContext.run(options, stage: "inspect", totalBytes: costs.reduce(0, +)) {
      (context) throws(Problem) in
      try context.pool.map(costs: costs) { (index) throws(Problem) in try tensors[index].measured(context) }
    }
    return result
  }

  public var parameterCount: Int { tensors.reduce(0) { $0 + $1.parameter.elementCount } }
  public var byteCount: Int { tensors.reduce(0) { $0 + $1.byteCount } }
  /// Bytes with every reduced parameter written out in the type of its numbers.
  public var plainByteCount: Int { tensors.reduce(0) { $0 + ($1.form == nil ? $1.byteCount : $1.plainByteCount) } }

  // MARK: - Groups

  /// By stored type, element types first, in the order of ``ElementType``; quantized ones by name.
  public var types: [Group] {
    let order = ElementType.allCases.map(\.rawValue)
    func place(_ name: String) -> Int { order.firstIndex(of: name) ?? order.count }
    return grouped(tensors, by: { $0.typeName }).map { Group($0.key, $0.elements) }
      .sorted { (place($0.name), $0.name) < (place($1.name), $1.name) }
  }

  /// By role, those with the most parameters first; tensors that no description names are `unknown`.
  public var roles: [Group] {
    grouped(tensors, by: { $0.place.roleName }).map { Group($0.key, $0.elements) }
      .sorted { ($1.parameterCount, $0.name) < ($0.parameterCount, $1.name) }
  }

  /// By module, in the order of names.
  public var modules: [Group] {
    grouped(tensors, by: { $0.place.module }).map { Group($0.key, $0.elements) }.sorted { $0.name < $1.name }
  }

  /// By layer, module after module; what stands before and after the layers are groups of their own.
  public var layers: [Group] {
    let modules = Set(tensors.map(\.place.module)).count
    return grouped(tensors, by: { LayerKey($0.place) }).sorted { $0.key < $1.key }.map { key, tensors in
      Group(key.name(amongModules: modules), tensors)
    }
  }
}

extension Inspection.Tensor {
  fileprivate func measured(_ context: MeasurementContext) throws(Problem) -> Inspection.Tensor {
    var result = self
    do throws(Problem) {
      let scan = try context.scan([parameter])
      result.statistics = try TensorStatistics(scan)
      if context.wantsSpectra && MeasurementContext.hasSpectrum(parameter) {
        result.spectrum = try context.spectrum(of: scan, shape: parameter.shape, name: parameter.name) { block in
          UnsafePointer(block.rows[0])
        }
      }
    } catch { throw error.at(tensor: parameter.name) }
    return result
  }
}

extension Inspection.Group {
  fileprivate init(_ name: String, _ tensors: [Inspection.Tensor]) {
    self.name = name
    tensorCount = tensors.count
    parameterCount = tensors.reduce(0) { $0 + $1.parameter.elementCount }
    byteCount = tensors.reduce(0) { $0 + $1.byteCount }
    let measured = tensors.compactMap(\.statistics)
    statistics = measured.first.map { first in measured.dropFirst().reduce(into: first) { $0.add($1) } }
  }
}
