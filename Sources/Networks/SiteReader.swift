internal import EspalierArchitectures
public import EspalierBasics

/// A map that reads the rows of a site.
public struct SiteReader: Sendable, Hashable {
  public let site: String
  /// Canonical names of its matrix, and of its bias if it has one.
  public let weight: String
  public let bias: String?
  /// Whether the matrix is used elsewhere too, as an embedding that is tied to a head is.
  public let isShared: Bool
}

extension Network {
  /// The maps of a block that read sites, in the order in which they run; those of experts are not among them.
  ///
  /// - Parameter index: of the block in ``blocks()``.
  public func readers(ofBlock index: Int) throws(Problem) -> [SiteReader] {
    let description = program.description
    let statements = program.sections.flatMap(\.statements)
    func isUsedOnce(_ name: String) -> Bool {
      let uses = statements.count { statement in
        statement.operation != SplitOperation.name && statement.parameters.values.contains { $0.contains(name) }
      }
      return uses == 1 && !description.parameters.contains { $0.tiedTo == name }
    }
    return program.sections[index].statements.compactMap { statement in
      guard statement.operation == MapOperation.name, let names = statement.parameters["weight"], names.count == 1,
        let parameter = description.parameter(named: names[0]), let site = parameter.inputSite
      else { return nil }
      return SiteReader(
        site: site, weight: parameter.name, bias: statement.parameters["bias"]?.first,
        isShared: parameter.tiedTo != nil || !isUsedOnce(names[0]))
    }
  }
}
